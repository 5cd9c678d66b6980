package refresh_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A slow Store answers reads late.
type slow struct {
	refresh.Store
	delay atomic.Int64 // a time.Duration
}

func (s *slow) Load(ctx context.Context, key string) (refresh.Record, error) {
	time.Sleep(time.Duration(s.delay.Load()))
	return s.Store.Load(ctx, key)
}

// Invariant 8, from the honest client's side: whoever retries within the window is not
// taken for a thief because the store, whose leader has died, takes longer than it.
func TestRetryDuringOutage(t *testing.T) {
	for _, c := range []struct {
		name    string
		retries time.Duration // after the first use
		want    error
	}{
		{"within the window", 5 * time.Second, nil},
		{"after it", 13 * time.Second, refresh.ErrReplayed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slow{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
				g := s.login(t)
				s.refresh(t, g) // its answer is lost
				time.Sleep(c.retries)
				store.delay.Store(int64(15 * time.Second))
				if c.want != nil {
					s.refused(t, g, c.want)
					return
				}
				next := s.refresh(t, g)
				store.delay.Store(0)
				s.refresh(t, next)
			})
		})
	}
}
