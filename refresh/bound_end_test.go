package refresh_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What ends a session ends a bound one, whether it comes between the challenge and the proof or
// at another instance; the proof mints nothing then.
func TestBoundSessionEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(t *testing.T, s, other *system, g *refresh.Grant)
		want error
	}{
		"logout": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if err := other.Logout(t.Context(), g.SessionID); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"logout everywhere": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if _, err := other.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"deletion of the subject": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if err := other.DeleteSubject(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"authenticated again": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			if _, err := other.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
		"a ban of the session": {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindSession, g.SessionID) }, refresh.ErrEnded},
		"a ban of the subject": {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindSubject, "user-1") }, refresh.ErrEnded},
		"a ban of the client":  {func(t *testing.T, s, other *system, g *refresh.Grant) { ban(t, s, revoke.KindClient, "web") }, refresh.ErrEnded},
		"idleness":             {func(t *testing.T, s, other *system, g *refresh.Grant) { time.Sleep(time.Hour + time.Millisecond) }, refresh.ErrSessionExpired},
		"the application":      {func(t *testing.T, s, other *system, g *refresh.Grant) { s.end = true }, refresh.ErrEnded},
		"a session too many": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			time.Sleep(time.Second)
			other.login(t)
			other.login(t)
		}, refresh.ErrEnded},
		"the services know not": {func(t *testing.T, s, other *system, g *refresh.Grant) {
			s.mu.Lock()
			s.fail = errors.New("bus down")
			s.mu.Unlock()
			if err := other.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
				t.Fatal(err)
			}
		}, refresh.ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *system
				all := instances(t, refresh.NewMemoryStore(), 2, func(c *refresh.Config) {
					c.MaxSessions = 2
					c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
						return refresh.Answer{End: s.end}, nil
					}
				})
				s = all[0]
				b, g := s.bind(t)
				other := all[1]
				other.use(t, b)
				s.use(t, b)
				s.challenged(t, b, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }))
				c.end(t, s, other, g)
				s.unusable(t, b.next(), c.want)
				s.unusable(t, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }), c.want)
				other.unusable(t, b.next(alone), c.want)
				if !errors.Is(c.want, refresh.ErrSessionExpired) && name != "the services know not" {
					s.dead(t, g)
				}
			})
		})
	}
}

func ban(t *testing.T, s *system, kind revoke.Kind, value string) {
	t.Helper()
	e, err := revoke.Event{Issuer: issuerName, Kind: kind, Value: value}.Complete(time.Now(), s.list.Retention())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.list.Apply(revoke.Now(), e); err != nil {
		t.Fatal(err)
	}
}

// The absolute limit holds however often the device proves itself, and bounds the tokens.
func TestBoundSessionHasItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		began := time.Now()
		b, first := s.bind(t)
		over := first.SessionExpires
		if d := over.Sub(began); d != refresh.Web.Absolute {
			t.Fatalf("it lasts %s", d)
		}
		for time.Now().Add(10 * time.Minute).Before(over) {
			time.Sleep(9*time.Minute + 59*time.Second)
			if g := s.use(t, b); g.AccessExpires.After(over) || !g.SessionExpires.Equal(over) {
				t.Fatalf("%s before the end a token until %s", time.Until(over), g.AccessExpires)
			}
		}
		time.Sleep(time.Until(over) + time.Millisecond)
		s.unusable(t, b.next(), refresh.ErrSessionExpired)
	})
}

// A session whose device is used is not the one that a login too many ends.
func TestBoundSessionIsNotTheIdlest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 2 })
		b, _ := s.bind(t)
		time.Sleep(time.Minute)
		idle := s.login(t)
		time.Sleep(time.Minute)
		s.use(t, b)
		s.login(t)
		s.use(t, b)
		s.refused(t, idle, refresh.ErrEnded)
	})
}

// Who is kept at a logout everywhere stays bound: the new refresh token, too, is worth
// nothing without the key.
func TestKeptSessionStaysBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		b, first := s.bind(t)
		other, _ := s.bind(t)
		g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(first.SessionID))
		if err != nil {
			t.Fatal(err)
		}
		s.accepted(t, g)
		s.refused(t, g, refresh.ErrPossession)
		s.unusable(t, other.next(), refresh.ErrEnded)
		if next := s.use(t, b); next.RefreshToken() != "" {
			t.Error("a token of the family before rotates")
		}
		b.token = g.RefreshToken()
		s.use(t, b)
		s.use(t, b)
	})
}

// After it was authenticated again the session is a new one, bound to nothing until its browser
// has registered, and the old key is worth nothing.
func TestReauthenticatedBoundSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		old, first := s.bind(t)
		g, err := s.Reauthenticate(t.Context(), first.SessionID, refresh.Login{AuthTime: time.Now(), BindDevice: true})
		if err != nil {
			t.Fatal(err)
		}
		s.unusable(t, old.next(), refresh.ErrEnded)
		if _, err := s.RefreshBound(t.Context(), old.next(func(p *refresh.DeviceProof) { p.Token = g.RefreshToken() })); !errors.Is(err, refresh.ErrEnded) {
			t.Error(err)
		}
		b, _ := s.register(t, g)
		s.use(t, b)
		s.refused(t, g, refresh.ErrPossession)
		plain, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if a, _ := plain.DeviceOffer(); a != "" {
			t.Error("offered unasked")
		}
		s.refresh(t, plain)
	})
}
