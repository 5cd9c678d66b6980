package rig

import (
	"context"
	"errors"
	"testing"
	"time"
)

// There is one way to wait here: Eventually, for a condition that this process can see,
// and its form AskUntil, for one that somebody else has to be asked about.

const (
	// Deadline bounds every wait of these tests. It is generous: nothing here judges speed,
	// and several clusters may be electing at once.
	Deadline = 2 * time.Minute

	// askTimeout bounds one request of a wait. A request that a server takes with it into
	// its restart is never answered, however long one waits; the next one is.
	askTimeout = 2 * time.Second
)

// Within bounds a call that asks again by itself until its context ends, as those of
// packages bus and natskv do, or one that nothing happens to meanwhile. What a condition
// asks it asks through AskUntil.
func Within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Deadline)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits for a condition that nothing announces and that takes no request to
// see.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	AskUntil(t, what, func(context.Context) error {
		if !ok() {
			return errors.New("not so")
		}
		return nil
	})
}

// AskUntil calls ask until it returns nil. The context of each call ends after a short
// time, and the next call asks again; so each request has to be one that may be made
// twice. If the wait is in vain, the test fails with the last error.
func AskUntil(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var last error
	for end := time.Now().Add(Deadline); time.Now().Before(end); <-tick.C {
		ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
		last = ask(ctx)
		cancel()
		if last == nil {
			return
		}
	}
	t.Fatalf("not within %s: %s: %v", Deadline, what, last)
}
