package refresh_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A deafening store gives up after 15 s what asks for its own record.
type deafening struct {
	refresh.Store
	on atomic.Bool
}

func (d *deafening) Load(ctx context.Context, key string) (refresh.Record, error) {
	if d.on.Load() && strings.HasPrefix(key, "r.") {
		time.Sleep(15 * time.Second)
		return refresh.Record{}, errDown
	}
	return d.Store.Load(ctx, key)
}

// One caller at a time asks a store whether it fell, and none waits for all before it to
// give a hanging one up.
func TestCallersDoNotQueueBehindAHangingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &deafening{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
		g := s.login(t)
		time.Sleep(time.Minute)
		store.on.Store(true)
		began := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := s.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, refresh.ErrStore) {
					t.Errorf("a store that hangs: %v", err)
				}
				if d := time.Since(began); d > 31*time.Second {
					t.Errorf("waited for %s", d)
				}
			})
		}
		wg.Wait()
		store.on.Store(false)
		s.refresh(t, g)
	})
}
