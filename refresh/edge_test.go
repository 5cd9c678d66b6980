package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A session that the denylist has stopped once does not come back when the event, which
// others published for a short time, is forgotten.
func TestRevokedForGood(t *testing.T) {
	for name, presented := range map[string]bool{"presented meanwhile": true, "not presented": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, func(c *refresh.Config) { c.Lifetimes = refresh.Consumer })
				g := s.login(t)
				event := revoke.Event{Issuer: issuerName, Kind: revoke.KindSession, Value: g.SessionID, Until: time.Now().Add(s.list.Config().TokenLifetime)}
				if err := s.list.Apply(revoke.Now(), event); err != nil {
					t.Fatal(err)
				}
				if presented {
					s.refused(t, g, refresh.ErrEnded)
				}
				for range 2 {
					time.Sleep(2 * time.Hour)
					if presented {
						s.refused(t, g, refresh.ErrLoginAgain)
					} else {
						g = s.refresh(t, g)
					}
				}
			})
		})
	}
}

// Sixteen rotations within a window are all that a record holds. The seventeenth is told
// to try again, and is answered when they have passed.
func TestRotationsWithinAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		for range 16 {
			g = s.refresh(t, g)
		}
		for range 3 {
			s.refused(t, g, refresh.ErrBusy)
		}
		time.Sleep(13 * time.Second)
		s.refresh(t, s.refresh(t, g))
	})
}

// Who was authenticated in the very millisecond of a logout everywhere is logged out with
// the rest, whatever a check after it says.
func TestAuthenticatedAtTheCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.login(t)
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Fatal(err)
		}
		l := refresh.Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Recheck: func(context.Context) error { return nil },
		}
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) {
			t.Errorf("at the cutoff: %v", err)
		}
		time.Sleep(time.Millisecond)
		l.AuthTime = time.Now()
		if _, err := s.Login(t.Context(), l); err != nil {
			t.Errorf("a millisecond later: %v", err)
		}
	})
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
