package main

import (
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// users is a stub in place of a user table: names with passwords, in memory and in the clear. Yours
// is a database with slow hashes (Argon2id). A restart brings the old passwords back.
var users sync.Map

func init() {
	users.Store("alice", "wonderland")
	users.Store("bob", "can we fix it")
}

// attempts is a stub, too: one limit for all. Yours has one for each user and each address, so that
// nobody can lock the others out.
var attempts = rate.NewLimiter(1, 20)

// throttle says how long who guesses a password has to wait.
func throttle(*http.Request) time.Duration {
	if attempts.Allow() {
		return 0
	}
	return 5 * time.Second
}
