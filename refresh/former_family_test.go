package refresh_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A device that was kept at a logout everywhere is given a new refresh token; what holds the one
// before, such as another tab of it, is told to try again for ten seconds or the window, and
// then that it is unknown. That ends nothing.
func TestFormerFamilyAtItsLimit(t *testing.T) {
	for name, c := range map[string]struct {
		lives refresh.Lifetimes
		until time.Duration
	}{
		"Web":          {refresh.Web, max(10*time.Second, refresh.Web.Grace)},
		"HighSecurity": {refresh.HighSecurity, 10 * time.Second},
		"a long window": {func() refresh.Lifetimes {
			l := refresh.Web
			l.Grace = 30 * time.Second
			return l
		}(), 30 * time.Second},
	} {
		for _, over := range []time.Duration{-time.Millisecond, 0, time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, func(cfg *refresh.Config) { cfg.Lifetimes = c.lives })
				g := s.login(t)
				next, err := s.LogoutAll(t.Context(), g.Subject, refresh.Keep(g.SessionID))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.until + over)
				want := refresh.ErrBusy
				if over > 0 {
					want = refresh.ErrUnknown
				}
				if _, err := s.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, want) {
					t.Errorf("%s, %s after the limit: %v, want %v", name, over, err, want)
				}
				s.refresh(t, next)
			})
		}
	}
}
