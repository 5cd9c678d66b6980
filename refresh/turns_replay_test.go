package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A meanwhileStore lets something happen before the load of a record for the nth time.
type meanwhileStore struct {
	Store
	key string
	nth int
	do  func()
}

func (s *meanwhileStore) Load(ctx context.Context, key string) (Record, error) {
	if key == s.key && s.nth > 0 {
		if s.nth--; s.nth == 0 {
			s.do()
		}
	}
	return s.Store.Load(ctx, key)
}

type deadBus struct{}

func (deadBus) Publish(context.Context, revoke.Event) (revoke.Receipt, error) {
	return revoke.Receipt{}, errors.New("bus down")
}

// A login that makes room by ending a session which was meanwhile found stolen elsewhere
// tells the application, but not while other logins of the subject wait for it: what the
// application does then may be one.
func TestReplayIsToldOutsideATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := instances(t, Web, 0, 0)
		m, other := two[0], two[1]
		first := other.mustLogin(t)
		call := Request{Token: first.RefreshToken(), Client: "web"}
		if _, err := other.Refresh(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		m.cfg.MaxSessions = 1
		m.cfg.Store = &meanwhileStore{m.cfg.Store, recordKey("s", m.issuer.Issuer, first.SessionID), 2, func() {
			other.cfg.Publisher = deadBus{}
			if _, err := other.Refresh(t.Context(), call); !errors.Is(err, ErrReused) || !errors.Is(err, ErrPending) {
				t.Error(err)
			}
		}}
		told := 0
		m.cfg.OnReplay = func(ctx context.Context, s Session) {
			if told++; s.ID != first.SessionID {
				t.Error(s)
			}
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if release, _, err := m.take(ctx, "user-1"); err != nil {
				t.Errorf("logins of the subject wait: %v", err)
			} else {
				release()
			}
		}
		m.mustLogin(t)
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}
