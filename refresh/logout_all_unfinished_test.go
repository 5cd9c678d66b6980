package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// spoil has the store hold of a session what this version of the package does not know.
func (s *system) spoil(t *testing.T, g *refresh.Grant) {
	t.Helper()
	for _, x := range s.store.saved {
		key, value, _ := strings.Cut(string(x), " ")
		if !strings.HasPrefix(key, "s.") || !strings.Contains(value, g.SessionID) {
			continue
		}
		r, err := s.store.Load(t.Context(), key)
		if err == nil {
			_, err = s.store.Store.Save(t.Context(), key, []byte(`{"v":2}`), r.Revision, g.SessionExpires)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no such record")
}

// Invariant 9: a logout everywhere that cannot be finished keeps no later one from
// ending what was begun since.
func TestLogoutAllBehindAStuckOne(t *testing.T) {
	for name, stuck := range map[string]func(*testing.T, *system, *refresh.Grant){
		"bus down":       func(_ *testing.T, s *system, _ *refresh.Grant) { s.fail = errors.New("bus down") },
		"unknown record": func(t *testing.T, s *system, g *refresh.Grant) { s.spoil(t, g) },
		"nothing":        func(*testing.T, *system, *refresh.Grant) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				first := s.login(t)
				stuck(t, s, first)
				failed := func(err error) {
					t.Helper()
					if (err == nil) != (name == "nothing") || err != nil && !errors.Is(err, refresh.ErrTryAgain) {
						t.Fatal(err)
					}
				}
				_, err := s.LogoutAll(t.Context(), "user-1")
				failed(err)
				time.Sleep(5 * time.Second)
				thief, keep := s.login(t), s.login(t)
				s.accepted(t, thief)
				_, err = s.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID))
				failed(err)
				s.refused(t, thief, refresh.ErrEnded)
				s.fail = nil
				if _, err := s.Sessions(t.Context(), "user-1"); err != nil { // finishes what it can
					if name != "unknown record" {
						t.Fatal(err)
					}
				}
				s.dead(t, first)
				s.dead(t, thief)
				s.accepted(t, keep)
			})
		})
	}
}

// A refusing store does not write that a session has ended.
type refusing struct {
	refresh.Store
	on bool
}

func (r *refusing) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if r.on && strings.Contains(string(value), `"ended"`) {
		return 0, errors.New("not now")
	}
	return r.Store.Save(ctx, key, value, revision, expires)
}

// A session that a logout everywhere has still to end gets no token meanwhile, though the
// store does not let it end; one that is kept does.
func TestStillToBeEnded(t *testing.T) {
	store := &refusing{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	g, keep := s.login(t), s.login(t)
	store.on = true
	if _, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID)); !errors.Is(err, refresh.ErrTryAgain) {
		t.Fatal(err)
	}
	// The event is forgotten, or was never told here.
	other := newSystem(t, func(c *refresh.Config) { c.Issuer, c.Store = s.issuer, store })
	if _, err := other.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, refresh.ErrEnded) || errors.Is(err, refresh.ErrTryAgain) {
		t.Errorf("to be ended: %v", err)
	}
	other.refresh(t, keep)
	store.on = false
	other.refused(t, g, refresh.ErrEnded)
}
