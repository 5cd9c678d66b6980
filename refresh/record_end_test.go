package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A ledger keeps what a store holds, and until when.
type ledger struct {
	refresh.Store
	mu      sync.Mutex
	writes  int
	values  map[string]string
	expires map[string]time.Time
}

func newLedger() *ledger {
	return &ledger{Store: refresh.NewMemoryStore(), values: map[string]string{}, expires: map[string]time.Time{}}
}

func (l *ledger) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := l.Store.Save(ctx, key, value, revision, expires)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writes++
		l.values[key], l.expires[key] = string(value), expires
	}
	return n, err
}

// saves returns how often something was written.
func (l *ledger) saves() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writes
}

// holds returns what is not forgotten yet, of the records that name the text.
func (l *ledger) holds(text string) (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, at := range l.expires {
		if at.After(time.Now()) && strings.Contains(l.values[key], text) {
			list = append(list, l.values[key])
		}
	}
	return list
}

// One account whose script logs in anew each minute must not fill the store: what has
// ended is forgotten when its last access token has, not a month later.
func TestEndedSessionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLedger()
		s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes, c.MaxSessions = store, refresh.Consumer, 2 })
		var g *refresh.Grant
		for range 100 {
			last := g
			if g = s.login(t); last != nil {
				time.Sleep(time.Minute)
			}
		}
		first := g
		s.login(t)
		s.login(t)
		s.refused(t, first, refresh.ErrEnded) // it is still known
		s.dead(t, first)
		time.Sleep(time.Hour) // it is, as long as one of its tokens may be good
		s.refused(t, first, refresh.ErrEnded)
		time.Sleep(time.Hour)
		if n := len(store.holds(`"sid"`)); n != 2 {
			t.Errorf("%d records of sessions, of which two live", n)
		}
	})
}

// Of a session that is over nothing personal rests in the store but whose it was.
func TestEndedSessionsLeaveNothingPersonal(t *testing.T) {
	secrets := []string{"Firefox", "192.0.2.7", "mortgage"}
	login := func(t *testing.T, s *system) *refresh.Grant {
		return s.login(t, func(l *refresh.Login) {
			l.Device = refresh.Device{Label: "Firefox", Address: "192.0.2.7"}
			l.Claims = map[string]any{"plan": "mortgage"}
		})
	}
	for name, end := range map[string]func(*testing.T, *system, *refresh.Grant){
		"logout":    func(t *testing.T, s *system, g *refresh.Grant) { _ = s.Logout(t.Context(), g.SessionID) },
		"logoutall": func(t *testing.T, s *system, g *refresh.Grant) { _, _ = s.LogoutAll(t.Context(), g.Subject) },
		"replay": func(t *testing.T, s *system, g *refresh.Grant) {
			s.refresh(t, g)
			time.Sleep(time.Minute)
			s.refused(t, g, refresh.ErrReused)
		},
		"nothing": func(*testing.T, *system, *refresh.Grant) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newLedger()
				s := newSystem(t, func(c *refresh.Config) { c.Store = store })
				g := login(t, s)
				end(t, s, g)
				for _, secret := range secrets {
					if left := store.holds(secret); (len(left) == 0) == (name == "nothing") {
						t.Errorf("%s: %q", secret, left)
					}
				}
			})
		})
	}
}

// A session that is over leaves its subject's list, lest the page of devices look for
// it for a month; while the services are not told it stays there to be found.
func TestEndedSessionsLeaveTheList(t *testing.T) {
	store := newLedger()
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	stays, g := s.login(t), s.login(t)
	listed := func(g *refresh.Grant) bool { return len(store.holds(`{"s":"`+g.SessionID+`"`)) == 1 }
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) || !listed(g) {
		t.Fatalf("%v; listed: %t", err, listed(g))
	}
	s.fail = nil
	if err := s.Logout(t.Context(), g.SessionID); err != nil || listed(g) || !listed(stays) {
		t.Errorf("%v; listed: %t; the other: %t", err, listed(g), listed(stays))
	}
	s.refresh(t, stays)
}

// However a session ends, the store keeps the same of it; while the services are not told also
// what the application is told of it, and no hash of a secret but the family's.
func TestEveryEndingLeavesTheSame(t *testing.T) {
	common := []string{"ended", "exact_from", "family", "generation", "issued", "reason", "sid", "start", "sub", "until", "used", "v"}
	whilePending := []string{"auth_time", "client", "label", "pending", "scope"}
	for name, end := range map[string]func(t *testing.T, s *system, first, last *refresh.Grant){
		"replay": func(t *testing.T, s *system, first, _ *refresh.Grant) { s.refused(t, first, refresh.ErrReused) },
		"logout": func(t *testing.T, s *system, _, last *refresh.Grant) { _ = s.Logout(t.Context(), last.SessionID) },
		"logout by its token": func(t *testing.T, s *system, _, last *refresh.Grant) {
			_ = s.LogoutToken(t.Context(), last.RefreshToken(), "web")
		},
		"application": func(t *testing.T, s *system, _, last *refresh.Grant) {
			s.refused(t, last, refresh.ErrEnded, narrowedTo("read"))
		},
		"too many": func(t *testing.T, s *system, _, _ *refresh.Grant) { s.login(t) },
		"new login": func(t *testing.T, s *system, _, last *refresh.Grant) {
			_, _ = s.Reauthenticate(t.Context(), last.SessionID, refresh.Login{AuthTime: time.Now()})
		},
	} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bus down: %t", name, down), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, asked := newLedger(), false
					s := newSystem(t, func(c *refresh.Config) {
						c.Store, c.MaxSessions = store, 1
						c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
							return refresh.Answer{End: asked && name == "application"}, nil
						}
					})
					g := s.login(t, func(l *refresh.Login) {
						l.Device.Label, l.Claims = "Firefox", map[string]any{"plan": "mortgage"}
					})
					kept, err := s.LogoutAll(t.Context(), g.Subject, refresh.Keep(g.SessionID)) // it has a former family
					if err != nil {
						t.Fatal(err)
					}
					last := s.refresh(t, kept)
					time.Sleep(13 * time.Second) // the window is over
					asked = true
					if down {
						s.fail = errors.New("bus down")
					}
					end(t, s, kept, last)
					var record map[string]json.RawMessage
					for _, r := range store.holds(g.SessionID) {
						if strings.Contains(r, `"ended"`) {
							if err := json.Unmarshal([]byte(r), &record); err != nil {
								t.Fatal(err)
							}
						}
					}
					want := common
					if down {
						want = slices.Concat(common, whilePending)
					}
					var got []string
					for member, value := range record {
						if s := string(value); s != "null" && s != `""` && s != "0" && member != "actor" {
							got = append(got, member)
						}
					}
					// There it is found while it is pending; one too many leaves, and is found by
					// what the store has of pending work.
					if listed := len(store.holds(`{"s":"`+kept.SessionID+`"`)) > 0; listed != (down && name != "too many") {
						t.Errorf("it is in its subject's list: %t", listed)
					}
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("the store keeps %q, want %q", got, want)
					}
				})
			})
		}
	}
}
