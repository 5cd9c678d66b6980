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
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A ban that others publish 300 ms after the password was checked ends the login, whichever
// of the two this process hears of first; one from before the check does not.
func TestBanRightAfterThePasswordCheck(t *testing.T) {
	for kind, value := range map[revoke.Kind]string{revoke.KindSubject: "user-1", revoke.KindClient: "web", revoke.KindTenant: "acme", revoke.KindIssuer: ""} {
		for name, c := range map[string]struct {
			heard time.Duration // after the ban
			early bool          // the ban comes before the password check, by more than MaxSkew
		}{
			"heard at once":         {},
			"heard late":            {heard: 10 * time.Second},
			"before, heard late":    {heard: 10 * time.Second, early: true},
			"before, heard at once": {early: true},
		} {
			t.Run(kind.String()+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSystem(t)
					l := refresh.Login{Subject: "user-1", Client: "web", Tenant: "acme", Audience: []string{"api"}, AuthTime: time.Now()}
					time.Sleep(300 * time.Millisecond)
					ban, err := revoke.Event{Issuer: issuerName, Kind: kind, Value: value}.Complete(time.Now(), s.list.Retention())
					if err != nil {
						t.Fatal(err)
					}
					if c.early {
						time.Sleep(2*time.Second + time.Millisecond)
						l.AuthTime = time.Now()
					}
					hear := func() {
						if err := s.list.Apply(revoke.Now(), ban); err != nil {
							t.Fatal(err)
						}
					}
					if c.heard == 0 {
						hear()
					}
					time.Sleep(c.heard)
					g, err := s.Login(t.Context(), l)
					if c.heard == 0 && !c.early {
						if !errors.Is(err, refresh.ErrSuperseded) {
							t.Fatalf("%v, want ErrSuperseded", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if c.heard > 0 {
						hear()
					}
					s.accepted(t, g) // dated past the cutoff
					if c.early {
						s.accepted(t, s.refresh(t, g))
						return
					}
					s.refused(t, g, refresh.ErrEnded)
					s.dead(t, g)
					time.Sleep(3 * time.Hour) // and for good
					s.refused(t, g, refresh.ErrLoginAgain)
				})
			})
		}
	}
}

// Reauthenticate is a login, and obeys the same rule.
func TestBanBeforeReauthenticate(t *testing.T) {
	for name, later := range map[string]bool{"authenticated before the ban": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t)
				old := s.login(t)
				checked := time.Now()
				time.Sleep(300 * time.Millisecond)
				// The session itself is spared; its user's authentication is not.
				if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: revoke.KindSubject, Value: "user-1", Keep: []string{old.SessionID}}); err != nil {
					t.Fatal(err)
				}
				if later {
					time.Sleep(2*time.Second + time.Millisecond)
					checked = time.Now()
				}
				g, err := s.Reauthenticate(t.Context(), old.SessionID, refresh.Login{AuthTime: checked})
				if !later {
					if !errors.Is(err, refresh.ErrSuperseded) {
						t.Errorf("%v, want ErrSuperseded", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				s.accepted(t, s.refresh(t, g))
			})
		})
	}
}

// A page of devices shows no session that somebody has cut off on the bus, though the store
// does not know yet.
func TestSessionsThatAreCutOffAreNotListed(t *testing.T) {
	for name, c := range map[string]struct {
		event revoke.Event
		left  int
	}{
		"that session":     {revoke.Event{Kind: revoke.KindSession}, 1},
		"its client":       {revoke.Event{Kind: revoke.KindClient, Value: "web"}, 1},
		"the subject":      {revoke.Event{Kind: revoke.KindSubject, Value: "user-1"}, 0},
		"another subject":  {revoke.Event{Kind: revoke.KindSubject, Value: "user-2"}, 2},
		"but the one kept": {revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Keep: []string{"other"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			g := s.login(t)
			other := s.login(t, func(l *refresh.Login) { l.Client = "phone" })
			c.event.Issuer = issuerName
			if c.event.Kind == revoke.KindSession {
				c.event.Value = g.SessionID
			}
			if c.event.Keep != nil {
				c.event.Keep = []string{other.SessionID}
			}
			if err := s.list.Apply(revoke.Now(), c.event); err != nil {
				t.Fatal(err)
			}
			list, err := s.Sessions(t.Context(), "user-1")
			if err != nil || len(list) != c.left || c.left == 1 && list[0].ID != other.SessionID {
				t.Errorf("%d sessions, want %d: %+v, %v", len(list), c.left, list, err)
			}
		})
	}
}

// With a key that the replica holds as revoked nothing is minted, and no refresh token used
// up; once another key signs, all goes on.
func TestRevokedKeyMintsNothing(t *testing.T) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, func(c *refresh.Config) { c.Issuer, c.Lifetimes = issuer, refresh.HighSecurity })
	g, keep := s.login(t), s.login(t)
	leaked := ring.Active().Revocation()
	leaked.Issuer = issuerName
	if err := s.list.Apply(revoke.Now(), leaked); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.refused(t, g, refresh.ErrMint)
	}
	if _, err := s.Login(t.Context(), refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}); !errors.Is(err, refresh.ErrMint) {
		t.Errorf("Login: %v", err)
	}
	if _, err := s.Reauthenticate(t.Context(), keep.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrMint) {
		t.Errorf("Reauthenticate: %v", err)
	}
	if _, err := ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.refresh(t, g)
	s.refresh(t, keep)
}

// A session that is revoked on the bus while the application is asked gets no token.
func TestRevokedWhileTheApplicationIsAsked(t *testing.T) {
	var s *system
	var event *revoke.Event
	s = newSystem(t, func(c *refresh.Config) {
		c.Ask = func(_ context.Context, x refresh.Session) (refresh.Answer, error) {
			if event == nil {
				return refresh.Answer{}, nil
			}
			event.Value = x.ID
			return refresh.Answer{}, s.list.Apply(revoke.Now(), *event)
		}
	})
	g := s.refresh(t, s.login(t)) // the good twin
	event = &revoke.Event{Issuer: issuerName, Kind: revoke.KindSession}
	s.refused(t, g, refresh.ErrEnded)
}

// Anyone who is refused because a ban reaches back to his authentication is told to log in again,
// also where the bus is down; and where the store could not end the session, to try again.
func TestBanReachesBackInTrouble(t *testing.T) {
	down := errors.New("down")
	for name, c := range map[string]struct {
		trouble    func(*system, *readonly)
		want       error
		notPending bool
	}{
		"none":          {func(*system, *readonly) {}, refresh.ErrEnded, true},
		"bus down":      {func(s *system, _ *readonly) { s.fail = down }, refresh.ErrEnded, false},
		"no room":       {func(_ *system, r *readonly) { r.on.Store(true) }, refresh.ErrStore, false},
		"both together": {func(s *system, r *readonly) { s.fail = down; r.on.Store(true) }, refresh.ErrStore, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &readonly{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(c *refresh.Config) { c.Store = store })
				checked := time.Now()
				time.Sleep(300 * time.Millisecond)
				ban, err := revoke.Event{Issuer: issuerName, Kind: revoke.KindSubject, Value: "user-1"}.Complete(time.Now(), s.list.Retention())
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				g := s.login(t, func(l *refresh.Login) { l.AuthTime = checked })
				if err := s.list.Apply(revoke.Now(), ban); err != nil {
					t.Fatal(err)
				}
				c.trouble(s, store)
				_, err = s.Refresh(t.Context(), request(g.RefreshToken()))
				if !errors.Is(err, c.want) || errors.Is(err, refresh.ErrLoginAgain) == errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrPending) == c.notPending {
					t.Errorf("%v, want %v", err, c.want)
				}
				if errors.Is(err, down) != (s.fail != nil) || strings.Contains(err.Error(), "%!") {
					t.Errorf("%v does not say what was down", err)
				}
				s.mu.Lock()
				s.fail = nil
				s.mu.Unlock()
				store.on.Store(false)
				s.refused(t, g, refresh.ErrEnded)
				s.dead(t, g)
			})
		})
	}
}

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
