package issue_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// moody is a store that fails on command.
type moody struct {
	issue.MemoryStore
	mu  sync.Mutex
	err error
}

func (m *moody) Load(ctx context.Context, key string) (recordstore.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return recordstore.Record{}, m.err
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
	cfg := issue.KeyringConfig{RefreshInterval: time.Hour, AnnounceFor: 30 * time.Hour, RotateEvery: 1000 * time.Hour}
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
	if err := b.Refresh(t.Context()); !errors.Is(err, issue.ErrStore) || !errors.Is(err, out) || b.Active().ID() != leaked {
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
	alone, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Refresh(t.Context()); err != nil {
		t.Errorf("a ring without a store: %v", err)
	}
}

// deposed is a store whose reads are answered, on command, with what it held then.
type deposed struct {
	issue.MemoryStore
	mu  sync.Mutex
	old *recordstore.Record
}

func (d *deposed) Load(ctx context.Context, key string) (recordstore.Record, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.old != nil {
		return *d.old, nil
	}
	return d.MemoryStore.Load(ctx, key)
}

func (d *deposed) depose(t *testing.T) {
	record, err := d.MemoryStore.Load(t.Context(), issue.RingKey(forge.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old = &record
}

// A change that was acknowledged is in use when the call returns, although the store goes
// on showing what was before it.
func TestKeyringUsesWhatWasAcknowledged(t *testing.T) {
	kids := func(ring *issue.Keyring) (kids []string) {
		for _, k := range ring.Status().Keys {
			kids = append(kids, k.Key.ID())
		}
		return kids
	}
	for name, change := range map[string]func(*testing.T, *issue.Keyring) (gone, signs string, err error){
		"the key that signs is removed": func(t *testing.T, ring *issue.Keyring) (gone, signs string, err error) {
			gone, signs = ring.Active().ID(), states(ring, issue.KeyAnnounced)[0]
			return gone, signs, ring.Remove(t.Context(), gone)
		},
		"the announced key is removed": func(t *testing.T, ring *issue.Keyring) (gone, signs string, err error) {
			gone, signs = states(ring, issue.KeyAnnounced)[0], ring.Active().ID()
			return gone, signs, ring.Remove(t.Context(), gone)
		},
		"the announced key takes over": func(t *testing.T, ring *issue.Keyring) (gone, signs string, err error) {
			signs = states(ring, issue.KeyAnnounced)[0]
			key, err := ring.Rotate(t.Context())
			if err == nil && key.ID() != signs {
				t.Errorf("Rotate returned %s, the announced key is %s", key.ID(), signs)
			}
			return "", signs, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(deposed)
				ring := openRing(t, store, issue.KeyringConfig{})
				time.Sleep(10 * 24 * time.Hour) // the announced key may sign
				synctest.Wait()
				store.depose(t)
				gone, signs, err := change(t, ring)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Contains(kids(ring), gone) || ring.Active().ID() != signs {
					t.Errorf("when the call returned: keys %v, active %s; want all but %s, active %s", kids(ring), ring.Active().ID(), gone, signs)
				}
				w := httptest.NewRecorder()
				ring.ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))
				if gone != "" && strings.Contains(w.Body.String(), gone) || !strings.Contains(w.Body.String(), signs) {
					t.Errorf("when the call returned, the ring serves %s", w.Body)
				}
				if err := ring.Refresh(t.Context()); !errors.Is(err, issue.ErrStore) || slices.Contains(kids(ring), gone) {
					t.Errorf("refreshed from a store that goes on showing the old ring: error %v, keys %v", err, kids(ring))
				}
				// What it shows is replaced by nobody: the newest ring stands.
				other := openRing(t, &store.MemoryStore, issue.KeyringConfig{})
				if slices.Contains(kids(other), gone) || other.Active().ID() != signs {
					t.Errorf("another instance uses the keys %v, active %s", kids(other), other.Active().ID())
				}
			})
		})
	}
}
