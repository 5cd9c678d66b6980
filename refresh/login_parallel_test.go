package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A busyStore takes a while for each call, as one over a network does, so that calls
// meet; it counts them.
type busyStore struct {
	refresh.Store
	loads, saves, conflicts atomic.Int64
}

func (s *busyStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	s.loads.Add(1)
	time.Sleep(time.Millisecond)
	return s.Store.Load(ctx, key)
}

func (s *busyStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	s.saves.Add(1)
	time.Sleep(2 * time.Millisecond)
	r, err := s.Store.Save(ctx, key, value, revision, expires)
	if errors.Is(err, refresh.ErrConflict) {
		s.conflicts.Add(1)
	}
	return r, err
}

// 64 logins of one subject at once, as of a test suite's or a kiosk's account, all begin
// a session: on one instance with no write that is refused, on four with few.
func TestParallelLoginsOfOneSubject(t *testing.T) {
	const logins = 64
	for _, instances := range []int{1, 4} {
		t.Run(fmt.Sprint(instances), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &busyStore{Store: refresh.NewMemoryStore()}
				var all []*system
				for range instances {
					all = append(all, newSystem(t, func(c *refresh.Config) { c.Store, c.MaxSessions = store, 2*logins }))
				}
				var wg sync.WaitGroup
				for i := range logins {
					wg.Go(func() {
						l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
						if _, err := all[i%instances].Login(t.Context(), l); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if list, err := all[0].Sessions(t.Context(), "user-1"); err != nil || len(list) != logins {
					t.Errorf("%d sessions are listed, %v", len(list), err)
				}
				t.Logf("%d loads, %d saves, %d conflicts", store.loads.Load(), store.saves.Load(), store.conflicts.Load())
				most := int64(2*logins + 1) // what the store holds of itself, too
				if instances > 1 {
					most = 4 * logins
				}
				if n := store.saves.Load(); n > most {
					t.Errorf("%d writes, more than %d", n, most)
				}
			})
		})
	}
}

// A logout everywhere among the logins of one subject ends those that were authenticated
// before it, those that wait for their turn too.
func TestLogoutAllAmongParallelLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &busyStore{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
		var wg sync.WaitGroup
		var refused atomic.Int64
		for range 32 {
			wg.Go(func() {
				if _, err := s.Login(t.Context(), l); errors.Is(err, refresh.ErrSuperseded) {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
			t.Errorf("%d sessions are left, %v", len(list), err)
		}
		if n := refused.Load(); n == 0 || n == 32 {
			t.Errorf("%d of 32 were refused: the logout was not among them", n)
		}
	})
}

// A turn that nobody gives back costs a caller his own time, and no more.
func TestWaitingForATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stuckSubject{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		s.login(t)
		store.on.Store(true)
		l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
		var wg sync.WaitGroup
		for _, d := range []time.Duration{time.Minute, time.Second} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				began := time.Now()
				if _, err := s.Login(ctx, l); !errors.Is(err, refresh.ErrTryAgain) || time.Since(began) > d {
					t.Errorf("after %s of %s: %v", time.Since(began), d, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		store.on.Store(false)
		s.login(t)
	})
}

// A stuckSubject store does not answer to writes of subjects.
type stuckSubject struct {
	refresh.Store
	on atomic.Bool
}

func (s *stuckSubject) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if s.on.Load() && key[0] == 'u' {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.Store.Save(ctx, key, value, revision, expires)
}
