package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// login checks a password and begins a session, with a token that all services accept.
func login(app *web.App, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, password := r.PostFormValue("user"), r.PostFormValue("password")
		check := func(context.Context) error {
			if password == "" || passwords[user] != password {
				return errors.New("wrong user or password")
			}
			return nil
		}
		before := time.Now() // before the password is checked
		if err := check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		grant, err := app.Login(w, r, refresh.Login{ // which answers the request
			Subject: user, Client: "app", Audience: []string{"auth", "orders", "billing"}, Scope: []string{"orders", "billing"},
			AuthTime: before, Recheck: check,
		})
		if err != nil {
			log.Warn("login", "user", user, "error", err)
			return
		}
		log.Info("login", "session", grant)
	}
}

// passwords is a stub in place of a user table. Yours is a database with slow hashes (Argon2id), and
// a limit on guesses.
var passwords = map[string]string{"alice": "wonderland", "bob": "can we fix it"}
