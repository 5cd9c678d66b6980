package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

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

// The login that is one too many ends the session that was not used for the longest
// time, never the device in somebody's hand, even where that was logged in first.
func TestOneTooManyEndsTheIdlest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions, c.Lifetimes = 250, refresh.Consumer })
		inUse := s.login(t)
		var others []*refresh.Grant
		for range 249 {
			time.Sleep(time.Minute)
			others = append(others, s.login(t))
		}
		inUse = s.refresh(t, inUse)
		others[0] = s.refresh(t, others[0])
		s.accepted(t, s.login(t))
		s.refused(t, others[1], refresh.ErrEnded)
		s.accepted(t, s.login(t))
		s.refused(t, others[2], refresh.ErrEnded)
		s.refresh(t, inUse)
		s.refresh(t, others[0])
		s.refresh(t, others[3])
	})
}

// A record of one session that nobody can read refuses no login, and keeps its place.
func TestOneTooManyBesideAnUnreadableOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := newLedger()
		store := &edited{Store: inner}
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions, c.Store = 2, store })
		first := s.login(t)
		time.Sleep(time.Second)
		second := s.login(t)
		time.Sleep(time.Second)
		store.edit = func(key string, value []byte) []byte {
			if strings.Contains(string(value), `"sid":"`+first.SessionID) {
				return []byte(`{"v":9}`)
			}
			return value
		}
		third := s.login(t)
		store.edit = nil
		var list struct {
			Live []struct {
				S string
				U int64
			}
		}
		for _, record := range inner.holds(`"live":[{"s":"` + first.SessionID) {
			if err := json.Unmarshal([]byte(record), &list); err != nil {
				t.Fatal(err)
			}
		}
		if len(list.Live) != 2 {
			t.Fatalf("%d sessions are listed", len(list.Live))
		}
		if list.Live[0].S != first.SessionID || list.Live[1].S != third.SessionID || list.Live[0].U >= list.Live[1].U {
			t.Errorf("the list is not in the order in which its sessions end: %v", list.Live)
		}
		s.refresh(t, first)
		s.refused(t, second, refresh.ErrEnded)
		s.refresh(t, third)
		store.edit = func(key string, value []byte) []byte {
			if key[0] == 's' {
				return []byte(`{"v":9}`)
			}
			return value
		}
		l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrTryAgain) {
			t.Errorf("where none can be read: %v", err)
		}
	})
}

// The list of a subject is in the order in which its sessions end, wherever in it one stands that
// nobody can read: of two that were used at the same time the first that was begun makes room.
func TestListStaysInOrderAroundAnUnreadableOne(t *testing.T) {
	for unreadable := range 3 {
		synctest.Test(t, func(t *testing.T) {
			inner := newLedger()
			store := &edited{Store: inner}
			s := newSystem(t, func(c *refresh.Config) { c.MaxSessions, c.Store = 3, store })
			var want []string
			login := func() {
				want = append(want, s.login(t).SessionID)
				time.Sleep(time.Second)
			}
			for range 3 {
				login()
			}
			bad := want[unreadable]
			store.edit = func(key string, value []byte) []byte {
				if strings.Contains(string(value), `"sid":"`+bad) {
					return []byte(`{"v":9}`)
				}
				return value
			}
			login()
			store.edit = nil
			first := 0
			if unreadable == 0 {
				first = 1
			}
			want = slices.Delete(want, first, first+1) // it makes room
			var list struct{ Live []struct{ S string } }
			for _, record := range inner.holds(want[2]) {
				if strings.Contains(record, `"live"`) {
					if err := json.Unmarshal([]byte(record), &list); err != nil {
						t.Fatal(err)
					}
				}
			}
			var got []string
			for _, x := range list.Live {
				got = append(got, x.S)
			}
			if !slices.Equal(got, want) {
				t.Errorf("session %d cannot be read: the list is %q, want %q", unreadable+1, got, want)
			}
		})
	}
}
