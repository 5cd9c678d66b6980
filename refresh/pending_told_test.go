package refresh_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// On-call is told that pending work could not be named in the store, and on a day on which it could
// is not.
func TestWorkThatCannotBeNamedIsTold(t *testing.T) {
	for _, read := range []bool{true, false} {
		for kind, lines := range map[string]int{"": 0, "p.": 1} {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				store := &failsFor{read: read, unwritten: errors.New("no store")}
				s := newSystem(t, func(c *refresh.Config) {
					store.Store, c.Store, c.Logger = c.Store, store, slog.New(slog.NewTextHandler(&log, nil))
				})
				g := s.login(t)
				store.kind = kind
				s.fail = errors.New("bus down")
				if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
					t.Errorf("%q: %v", kind, err)
				}
				if n := strings.Count(log.String(), "is not named in the store"); n != lines {
					t.Errorf("records %q fail, read %t: told %d times, want %d:\n%s", kind, read, n, lines, &log)
				}
				s.fail = nil
				if err := s.Logout(t.Context(), g.SessionID); err != nil { // what comes upon it finishes it
					t.Errorf("%q: %v", kind, err)
				}
				s.dead(t, g)
			})
		}
	}
}
