package refresh_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A doubtful store does the next write that ends a session, and does not say so.
type doubtful struct {
	refresh.Store
	next atomic.Bool
}

func (d *doubtful) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := d.Store.Save(ctx, key, value, revision, expires)
	if strings.Contains(string(value), `"ended"`) && d.next.CompareAndSwap(true, false) {
		return 0, errors.New("no answer")
	}
	return n, err
}

// A theft is told to the application even if the process that found it out did not learn
// that it had ended the session, or could not tell the services: anyone who finishes it tells.
func TestTheftIsTold(t *testing.T) {
	for name, finish := range map[string]func(*testing.T, *system, *refresh.Grant){
		"by the next use": func(t *testing.T, s *system, g *refresh.Grant) { s.refused(t, g, refresh.ErrReused) },
		"by the list": func(t *testing.T, s *system, g *refresh.Grant) {
			if _, err := s.Sessions(t.Context(), g.Subject); err != nil {
				t.Error(err)
			}
		},
		"by a logout everywhere": func(t *testing.T, s *system, g *refresh.Grant) {
			if _, err := s.LogoutAll(t.Context(), g.Subject); err != nil {
				t.Error(err)
			}
		},
		"by a logout": func(t *testing.T, s *system, g *refresh.Grant) {
			if err := s.Logout(t.Context(), g.SessionID); err != nil {
				t.Error(err)
			}
		},
	} {
		for _, fault := range []string{"unanswered", "bus down", "none"} {
			t.Run(name+"/"+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var told []refresh.Session
					store := &doubtful{Store: refresh.NewMemoryStore()}
					s := newSystem(t, func(c *refresh.Config) {
						c.Store = store
						c.OnReplay = func(_ context.Context, x refresh.Session) { told = append(told, x) }
					})
					g := s.login(t, func(l *refresh.Login) { l.Device.Label = "Firefox" })
					next := s.refresh(t, g)
					time.Sleep(time.Minute)
					want := 1
					switch fault {
					case "unanswered":
						store.next.Store(true)
						s.refused(t, g, refresh.ErrTryAgain)
					case "bus down":
						s.fail = errors.New(fault)
						s.refused(t, g, refresh.ErrReused)
						s.fail = nil
						want = 2 // when it was found out, and when the services know
					case "none":
						s.refused(t, g, refresh.ErrReused)
					}
					finish(t, s, g)
					s.dead(t, next)
					if len(told) != want || told[0].ID != g.SessionID || told[0].Device.Label != "Firefox" {
						t.Errorf("told %d times, want %d: %+v", len(told), want, told)
					}
					s.refused(t, g, refresh.ErrReused)
				})
			})
		}
	}
}
