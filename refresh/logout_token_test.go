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

// RFC 7009: anyone who holds a refresh token of the session, whatever its generation, ends it;
// what is none of ours is no error and does nothing; another client is refused.
func TestLogoutToken(t *testing.T) {
	for name, c := range map[string]struct {
		token  func(t *testing.T, s *system, g *refresh.Grant) string
		client string
		ends   bool
		want   error
	}{
		"the present one": {func(_ *testing.T, _ *system, g *refresh.Grant) string { return g.RefreshToken() }, "web", true, nil},
		"used up within the window": {func(t *testing.T, s *system, g *refresh.Grant) string {
			s.refresh(t, g)
			return g.RefreshToken()
		}, "web", true, nil},
		"used up long ago": {func(t *testing.T, s *system, g *refresh.Grant) string {
			next := s.refresh(t, g)
			time.Sleep(10 * time.Minute)
			s.refresh(t, next)
			return g.RefreshToken()
		}, "web", true, nil},
		"of before a password change": {func(t *testing.T, s *system, g *refresh.Grant) string {
			if _, err := s.LogoutAll(t.Context(), g.Subject, refresh.Keep(g.SessionID)); err != nil {
				t.Fatal(err)
			}
			return g.RefreshToken()
		}, "web", true, nil},
		"of long before a password change": {func(t *testing.T, s *system, g *refresh.Grant) string {
			if _, err := s.LogoutAll(t.Context(), g.Subject, refresh.Keep(g.SessionID)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			return g.RefreshToken()
		}, "web", false, nil},
		"another client's": {func(_ *testing.T, _ *system, g *refresh.Grant) string { return g.RefreshToken() }, "phone", false, refresh.ErrClient},
		"nobody's":         {func(_ *testing.T, _ *system, g *refresh.Grant) string { return g.RefreshToken() }, "", false, refresh.ErrRequest},
		"garbage":          {func(*testing.T, *system, *refresh.Grant) string { return "x" }, "web", false, nil},
		"an access token":  {func(_ *testing.T, _ *system, g *refresh.Grant) string { return g.AccessToken() }, "web", false, nil},
		"of another family": {func(_ *testing.T, _ *system, g *refresh.Grant) string {
			raw := g.RefreshToken()
			return raw[:40] + strings.Map(func(r rune) rune {
				if r == 'A' {
					return 'B'
				}
				return 'A'
			}, raw[40:60]) + raw[60:]
		}, "web", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				replays := 0
				s := newSystem(t, func(c *refresh.Config) { c.OnReplay = func(context.Context, refresh.Session) { replays++ } })
				g := s.login(t)
				raw := c.token(t, s, g)
				events := len(s.events)
				err := s.LogoutToken(t.Context(), raw, c.client)
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Fatalf("%v, want %v", err, c.want)
				}
				list, err := s.Sessions(t.Context(), g.Subject)
				if err != nil || (len(list) == 0) != c.ends || (len(s.events) > events) != c.ends || replays != 0 {
					t.Errorf("%d sessions, %d events more, %d replays, %v", len(list), len(s.events)-events, replays, err)
				}
				if c.ends {
					s.refused(t, g, refresh.ErrLoginAgain)
					if err := s.LogoutToken(t.Context(), raw, c.client); err != nil { // again
						t.Error(err)
					}
				}
			})
		})
	}
}

// What cannot be done is said: the store fails, or the bus.
func TestLogoutTokenFails(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	s.store.fail = errors.New("no store")
	if err := s.LogoutToken(t.Context(), g.RefreshToken(), "web"); !errors.Is(err, refresh.ErrStore) {
		t.Error(err)
	}
	s.store.fail = nil
	s.fail = errors.New("bus down")
	if err := s.LogoutToken(t.Context(), g.RefreshToken(), "web"); !errors.Is(err, refresh.ErrPending) {
		t.Error(err)
	}
	s.fail = nil
	if err := s.LogoutToken(t.Context(), g.RefreshToken(), "web"); err != nil {
		t.Error(err)
	}
	s.dead(t, g)
}

// A token of a session that the store does not know is none of ours; nor is one of a session
// that is over in another spelling.
func TestLogoutTokenOfNoSession(t *testing.T) {
	s, elsewhere := newSystem(t), newSystem(t)
	if err := s.LogoutToken(t.Context(), elsewhere.login(t).RefreshToken(), "web"); err != nil {
		t.Errorf("another store's: %v", err)
	}
	g := s.login(t)
	if err := s.Logout(t.Context(), g.SessionID); err != nil {
		t.Fatal(err)
	}
	events := len(s.events)
	raw := rawToken(t, g.RefreshToken())
	raw[20]++
	if err := s.LogoutToken(t.Context(), spellRaw(raw), "web"); err != nil || len(s.events) != events {
		t.Errorf("another spelling: %v, %d events", err, len(s.events)-events)
	}
}

// A session of the version before is ended by a token that this version has given it as it was
// given out, and by no other spelling of it, which could be made up.
func TestLogoutTokenOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := afterUpgrade(t)
		g, err := s.Refresh(t.Context(), request(w.Tokens["never refreshed"]))
		if err != nil {
			t.Fatal(err)
		}
		raw := rawToken(t, g.RefreshToken())
		raw[20]++
		if err := s.LogoutToken(t.Context(), spellRaw(raw), "web"); err != nil || len(s.events) != 0 {
			t.Errorf("another spelling: %v, %d events", err, len(s.events))
		}
		if _, err := s.Refresh(t.Context(), request(spellRaw(raw))); !errors.Is(err, refresh.ErrUnknown) {
			t.Errorf("another spelling, for a refresh: %v", err)
		}
		if err := s.LogoutToken(t.Context(), g.RefreshToken(), "web"); err != nil || len(s.events) != 1 {
			t.Errorf("as it was given out: %v, %d events", err, len(s.events))
		}
		s.refused(t, g, refresh.ErrEnded)
	})
}
