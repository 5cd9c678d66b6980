package refresh_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A subject's record outlives its sessions, which no logout everywhere would find, and
// what a logout everywhere has still to do.
func TestSubjectOutlivesItsSessions(t *testing.T) {
	store := newLedger()
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	until := func() (at time.Time) {
		for key, x := range store.expires {
			if strings.HasPrefix(key, "u.") {
				at = x
			}
		}
		return at
	}
	g := s.login(t)
	if at := until(); at.Before(g.SessionExpires) {
		t.Errorf("until %s, a session until %s", at, g.SessionExpires)
	}
	s.fail = errors.New("bus down")
	if _, err := s.LogoutAll(t.Context(), g.Subject); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	if at, least := until(), time.Now().Add(s.list.Config().SessionLifetime-time.Minute); at.Before(least) {
		t.Errorf("pending, until %s, want %s", at, least)
	}
}
