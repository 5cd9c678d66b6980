package token_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// moody is a store that fails on command.
type moody struct {
	token.MemoryStore
	mu  sync.Mutex
	err error
}

func (m *moody) Load(ctx context.Context, key string) (refresh.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return refresh.Record{}, m.err
	}
	return m.MemoryStore.Load(ctx, key)
}

func (m *moody) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// After an emergency removal on one instance another follows at once when it is told
// to, and not before.
func TestKeyringRefresh(t *testing.T) {
	store := new(moody)
	cfg := token.KeyringConfig{RefreshInterval: time.Hour, AnnounceFor: 30 * time.Hour, RotateEvery: 1000 * time.Hour}
	a := openRing(t, store, cfg)
	b := openRing(t, store, cfg)
	leaked := a.Active().ID()
	if err := b.Refresh(t.Context()); err != nil || b.Active().ID() != leaked {
		t.Fatalf("before the removal: error %v, key %s", err, b.Active())
	}
	if err := a.Remove(t.Context(), leaked); err != nil {
		t.Fatal(err)
	}
	if b.Active().ID() != leaked {
		t.Fatal("the other instance followed by itself: the test shows nothing")
	}
	out := errors.New("out of order")
	store.fail(out)
	if err := b.Refresh(t.Context()); !errors.Is(err, token.ErrKeyStore) || !errors.Is(err, out) || b.Active().ID() != leaked {
		t.Errorf("while the store fails: error %v", err)
	}
	store.fail(nil)
	if err := b.Refresh(t.Context()); err != nil || b.Active().ID() != a.Active().ID() || b.Active().ID() == leaked {
		t.Errorf("after the removal: error %v, key %s, want %s", err, b.Active(), a.Active())
	}
	for _, k := range b.Status().Keys {
		if k.Key.ID() == leaked {
			t.Error("the other instance still publishes the key")
		}
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Refresh(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: error %v", err)
	}
	b.Close()
	if err := b.Refresh(t.Context()); err == nil {
		t.Error("a closed ring is refreshed")
	}
	alone, err := token.NewEphemeralKeyring(token.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Refresh(t.Context()); err != nil {
		t.Errorf("a ring without a store: %v", err)
	}
}
