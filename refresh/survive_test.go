package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 9: a reason that no event may have is refused before anything is done. Were
// it recorded, the session would be over in the store and no service would ever be told,
// and the subject could never again be logged out everywhere.
func TestReasonsThatNoEventTakes(t *testing.T) {
	long := strings.Repeat("x", revoke.MaxReasonBytes+1)
	for name, text := range map[string]string{"long": long, "no UTF-8": "caf\xe9"} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			g, keep := s.login(t), s.login(t)
			everywhere := func(o ...refresh.LogoutAllOption) error {
				_, err := s.LogoutAll(t.Context(), "user-1", append(o, refresh.Keep(keep.SessionID))...)
				return err
			}
			for call, err := range map[string]error{
				"Revoke, reason":     s.Revoke(t.Context(), g.SessionID, text, ""),
				"Revoke, actor":      s.Revoke(t.Context(), g.SessionID, "", text),
				"LogoutAll, reason":  everywhere(refresh.Because(text)),
				"LogoutAll, actor":   everywhere(refresh.By(text)),
				"LogoutAll, subject": func() error { _, err := s.LogoutAll(t.Context(), strings.Repeat(text, 8)); return err }(),
			} {
				if !errors.Is(err, revoke.ErrInvalidEvent) || errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
					t.Errorf("%s: %v", call, err)
				}
			}
			g = s.refresh(t, g) // nothing was done
			if err := everywhere(refresh.Because(long[1:]), refresh.By(long[1:])); err != nil {
				t.Fatal(err)
			}
			s.dead(t, g)
			s.accepted(t, keep)
			if err := s.Revoke(t.Context(), keep.SessionID, long[1:], long[1:]); err != nil {
				t.Fatal(err)
			}
			s.dead(t, keep)
		})
	}
}

// The application's word ends a session whatever it gives for a reason.
func TestAskWithReasonThatNoEventTakes(t *testing.T) {
	for _, reason := range []string{strings.Repeat("x", revoke.MaxReasonBytes+1), "caf\xe9", "disabled"} {
		s := newSystem(t, func(c *refresh.Config) {
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
				return refresh.Answer{End: true, Reason: reason}, nil
			}
		})
		g := s.login(t)
		s.refused(t, g, refresh.ErrEnded)
		s.dead(t, g)
		if told := s.events[0].Reason; (told == reason) != (reason == "disabled") {
			t.Errorf("the services were told %q", told)
		}
	}
}

// A hiding store does not show the sessions that it has.
type hiding struct {
	refresh.Store
	on atomic.Bool
}

func (h *hiding) Load(ctx context.Context, key string) (refresh.Record, error) {
	if h.on.Load() && strings.HasPrefix(key, "s.") {
		return refresh.Record{}, refresh.ErrNotFound
	}
	return h.Store.Load(ctx, key)
}

// A session that a slow store does not show to the login that looks for room must not
// leave its subject's list alive: no logout everywhere would find it, and once the event
// is forgotten it would go on.
func TestHiddenSessionIsNotForgotten(t *testing.T) {
	for name, everywhere := range map[string]bool{"logged out everywhere": true, "left alone": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &hiding{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(c *refresh.Config) {
					c.Store, c.MaxSessions, c.Lifetimes = store, 1, refresh.Consumer
				})
				g := s.login(t)
				time.Sleep(time.Second)
				store.on.Store(true)
				l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
				if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrTryAgain) {
					t.Errorf("a second session where one is allowed: %v", err)
				}
				store.on.Store(false)
				if !everywhere {
					time.Sleep(3 * time.Hour)
					s.refresh(t, g)
					return
				}
				if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Hour) // the event is forgotten
				s.refused(t, g, refresh.ErrLoginAgain)
			})
		})
	}
}

// Sessions that were idle for too long are over, and take no living one's place.
func TestIdleSessionsTakeNoPlace(t *testing.T) {
	for name, idle := range map[string]bool{"idle": true, "in use": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 2 })
				phone := s.login(t)
				time.Sleep(time.Second)
				script := s.login(t)
				for range 2 { // Web: an hour
					time.Sleep(31 * time.Minute)
					phone = s.refresh(t, phone)
					if !idle {
						script = s.refresh(t, script)
					}
				}
				s.accepted(t, s.login(t))
				if idle {
					s.refresh(t, phone)
					s.refused(t, script, refresh.ErrLoginAgain)
				} else { // the first that was begun makes room
					s.refused(t, phone, refresh.ErrEnded)
					s.refresh(t, script)
				}
			})
		})
	}
}

// A session that was idle for too long is buried in silence, and one that is refused only a
// millisecond later ends as any other that makes room: the services are told.
func TestBuriedAtTheLimit(t *testing.T) {
	for over, told := range map[time.Duration]int{-1: 1, 0: 1, 1: 0} {
		t.Run(fmt.Sprintf("%d ms after it", over), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 1 })
				g := s.login(t)
				time.Sleep(refresh.Web.Idle + s.list.Config().MaxSkew + over*time.Millisecond)
				s.accepted(t, s.login(t))
				if n := len(s.published(revoke.KindSession)); n != told {
					t.Errorf("%d events, want %d", n, told)
				}
				s.refused(t, g, refresh.ErrLoginAgain)
			})
		})
	}
}
