package main

import (
	"errors"
	"fmt"
	"sync"
)

// users is a stub in place of a user table: passwords in memory and in the clear. Yours is a
// database with slow hashes.
type users struct {
	mu        sync.Mutex
	passwords map[string]string
	banned    map[string]bool
	changes   int
}

var userNames = []string{"alice", "bob", "carol"}

func newUsers() *users {
	u := &users{passwords: map[string]string{}, banned: map[string]bool{}}
	for _, name := range userNames {
		u.passwords[name] = "the first password of " + name
	}
	return u
}

var errPassword = errors.New("wrong name or password, or banned")

func (u *users) check(name, password string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if want, ok := u.passwords[name]; !ok || want != password || u.banned[name] {
		return errPassword
	}
	return nil
}

func (u *users) change(name, current, next string) error {
	if err := u.check(name, current); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.passwords[name] = next
	return nil
}

func (u *users) ban(name string, banned bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.banned[name] = banned
}

func (u *users) isBanned(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.banned[name]
}

// password is what the person behind that name knows by heart.
func (u *users) password(name string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.passwords[name]
}

// invent thinks of a new password.
func (u *users) invent(name string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.changes++
	return fmt.Sprintf("password %d of %s", u.changes+1, name)
}
