package refresh_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A breaking store does its work until the access of that number. That one fails,
// before or after it was done, and so do all after it: the process has crashed.
type breaking struct {
	refresh.Store
	mu    sync.Mutex // sessions end side by side
	left  int
	after bool // the last write is done, and nobody told
	dead  bool
}

var errCrash = errors.New("crash")

func (b *breaking) crashed() (now bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dead {
		return true
	}
	b.left--
	b.dead = b.left < 0
	return b.dead && !b.after
}

func (b *breaking) hasCrashed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dead
}

func (b *breaking) Load(ctx context.Context, key string) (refresh.Record, error) {
	if b.crashed() {
		return refresh.Record{}, errCrash
	}
	r, err := b.Store.Load(ctx, key)
	if b.hasCrashed() {
		err = errCrash
	}
	return r, err
}

func (b *breaking) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if b.crashed() {
		return 0, errCrash
	}
	n, err := b.Store.Save(ctx, key, value, revision, expires)
	if b.hasCrashed() {
		err = errCrash
	}
	return n, err
}

// takeOver makes a second process of the service.
func takeOver(one *system, store refresh.Store) func(*refresh.Config) {
	return func(c *refresh.Config) {
		c.Issuer, c.Store, c.Revocations, c.Publisher = one.issuer, store, one.list, one
	}
}

// A crash at any step leaves a retry that works, or an honest "log in
// again"; never two successors, and nothing half dead for ever.
func TestCrashAtEveryStep(t *testing.T) {
	crashes := 0
	for _, after := range []bool{false, true} {
		for step := 0; ; step++ {
			shared := refresh.NewMemoryStore()
			crashing := &breaking{Store: shared, left: 1 << 30, after: after}
			one := newSystem(t, func(c *refresh.Config) { c.Store = crashing })
			two := newSystem(t, takeOver(one, shared))
			g := one.login(t)
			crashing.left = step
			first, err := one.Refresh(t.Context(), request(g.RefreshToken()))
			if err == nil {
				if step == 0 {
					t.Fatal("nothing crashed")
				}
				break // it takes no more steps than that
			}
			crashes++
			if !errors.Is(err, refresh.ErrTryAgain) || first != nil {
				t.Fatalf("step %d, after %t: %v", step, after, err)
			}
			a, b := two.refresh(t, g), two.refresh(t, g)
			if a.RefreshToken() != b.RefreshToken() {
				t.Fatalf("step %d, after %t: two successors", step, after)
			}
			two.refresh(t, b)
		}
		for step := 0; ; step++ {
			shared := refresh.NewMemoryStore()
			crashing := &breaking{Store: shared, left: 1 << 30, after: after}
			one := newSystem(t, func(c *refresh.Config) { c.Store = crashing })
			two := newSystem(t, takeOver(one, shared))
			g, keep := one.login(t), one.login(t)
			crashing.left = step
			_, err := one.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID))
			if err == nil {
				break
			}
			crashes++
			if !errors.Is(err, refresh.ErrTryAgain) {
				t.Fatalf("step %d, after %t: %v", step, after, err)
			}
			// Called again, as the error says.
			next, err := two.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID))
			if err != nil || next == nil {
				t.Fatalf("step %d, after %t: again: %v, %v", step, after, next, err)
			}
			one.dead(t, g)
			two.refused(t, g, refresh.ErrEnded)
			one.accepted(t, next)
			two.refresh(t, next)
		}
		for step := 0; ; step++ {
			shared := refresh.NewMemoryStore()
			crashing := &breaking{Store: shared, left: step, after: after}
			one := newSystem(t, func(c *refresh.Config) { c.Store = crashing })
			two := newSystem(t, takeOver(one, shared))
			l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
			if _, err := one.Login(t.Context(), l); err == nil {
				break
			} else if !errors.Is(err, refresh.ErrTryAgain) {
				t.Fatalf("step %d, after %t: %v", step, after, err)
			}
			crashes++
			two.refresh(t, two.login(t))
			if _, err := two.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatalf("step %d, after %t: %v", step, after, err)
			}
		}
	}
	if crashes < 20 {
		t.Fatalf("%d crashes", crashes)
	}
}
