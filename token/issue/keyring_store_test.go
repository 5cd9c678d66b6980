package issue_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A hookedStore lets a test into each call.
type hookedStore struct {
	issue.Store
	load func() error
	save func(save func() error) error
}

func (h *hookedStore) Load(ctx context.Context, key string) (recordstore.Record, error) {
	if h.load != nil {
		if err := h.load(); err != nil {
			return recordstore.Record{}, err
		}
	}
	return h.Store.Load(ctx, key)
}

func (h *hookedStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (n uint64, err error) {
	if h.save != nil {
		return n, h.save(func() error {
			n, err = h.Store.Save(ctx, key, value, revision, expires)
			return err
		})
	}
	return h.Store.Save(ctx, key, value, revision, expires)
}

// A lastWriteWins is a store that ignores the revision.
type lastWriteWins struct{ issue.MemoryStore }

func (l *lastWriteWins) Save(ctx context.Context, key string, value []byte, _ uint64, expires time.Time) (uint64, error) {
	r, err := l.Load(ctx, key)
	if err != nil && !errors.Is(err, recordstore.ErrNotFound) {
		return 0, err
	}
	return l.MemoryStore.Save(ctx, key, value, r.Revision, expires)
}

// One instance removes a key while another's change is under way: neither is lost,
// and the other decides anew. Without compare-and-set the removed key is back.
func TestKeyringConflict(t *testing.T) {
	for name, store := range map[string]issue.Store{"compare-and-set": new(issue.MemoryStore), "without": new(lastWriteWins)} {
		synctest.Test(t, func(t *testing.T) {
			one := openRing(t, store, issue.KeyringConfig{})
			time.Sleep(36 * time.Hour)
			if _, err := one.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			retired := states(one, issue.KeyRetired)[0]
			slow := &hookedStore{Store: store}
			var armed atomic.Bool
			slow.save = func(save func() error) error {
				if armed.CompareAndSwap(true, false) {
					if err := one.Remove(t.Context(), retired); err != nil {
						t.Error(err)
					}
				}
				return save()
			}
			two := openRing(t, slow, issue.KeyringConfig{})
			armed.Store(true)
			next, err := two.Rotate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if next.ID() != states(two, issue.KeyAnnounced)[0] {
				t.Errorf("%s: it rotated to %s", name, next.ID())
			}
			time.Sleep(time.Minute)
			back := len(states(one, issue.KeyRetired)) > 0
			if back != (name == "without") {
				t.Errorf("%s: the removed key is back: %v", name, back)
			}
		})
	}
}

// A store that takes its time: what is saved counts from when it was seen there, not
// from when it was sent.
func TestKeyringCountsFromWhatWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hookedStore{Store: new(issue.MemoryStore)}
		var saved atomic.Pointer[time.Time]
		store.save = func(save func() error) error {
			time.Sleep(9 * time.Second)
			err := save()
			now := time.Now()
			saved.Store(&now)
			time.Sleep(500 * time.Millisecond)
			return err
		}
		ring := openRing(t, store, issue.KeyringConfig{})
		time.Sleep(36 * time.Hour)
		for range 2 {
			before := time.Now()
			if err := ring.Remove(t.Context(), states(ring, issue.KeyAnnounced)[0]); err != nil {
				t.Fatal(err)
			}
			for _, k := range ring.Status().Keys {
				if k.State == issue.KeyAnnounced && k.Since.Sub(before) < 9*time.Second {
					t.Errorf("announced %s after it was sent, and saved at %s", k.Since.Sub(before), saved.Load().Sub(before))
				}
			}
		}
		time.Sleep(36 * time.Hour)
		before := time.Now()
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range ring.Status().Keys {
			if k.Since.Sub(before) < 9*time.Second { // each of them has changed
				t.Errorf("%s %s after it was sent", k.State, k.Since.Sub(before))
			}
		}
	})
}

// Without its store an instance goes on for as long as nobody else can have moved
// on, then fails as "cannot know", and comes back by itself.
func TestKeyringWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		broken := errors.New("disk on fire")
		store := &hookedStore{Store: new(issue.MemoryStore)}
		var down atomic.Bool
		store.load = func() error {
			if down.Load() {
				return broken
			}
			return nil
		}
		cfg := issue.KeyringConfig{MaxAge: time.Minute, AnnounceFor: time.Hour, Logger: slog.New(slog.NewJSONHandler(&logged, nil))}
		ring := openRing(t, store, cfg)
		i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, token.EdDSA)
		time.Sleep(10 * time.Minute)
		down.Store(true)
		last := ring.Status().Loaded
		time.Sleep(time.Until(last.Add(58*time.Minute - time.Millisecond)))
		issued := forge.Issue(t, i, forge.Request())
		if _, err := v.Verify(t.Context(), issued.Raw()); err != nil {
			t.Error(err)
		}
		if s := ring.Status(); !errors.Is(s.Err, broken) || !errors.Is(s.Err, issue.ErrStore) || errors.Is(s.Err, token.ErrUnavailable) || !s.Loaded.Equal(last) {
			t.Errorf("status: %+v", s)
		}
		if r := forge.Serve(t, ring, "GET", nil); r.StatusCode != 200 {
			t.Errorf("GET: %d", r.StatusCode)
		}

		time.Sleep(2 * time.Millisecond)
		if _, err := i.Issue(t.Context(), forge.Request()); !errors.Is(err, issue.ErrIssue) || !errors.Is(err, token.ErrKeysUnavailable) {
			t.Errorf("issue: error %v", err)
		}
		if _, err := v.Verify(t.Context(), issued.Raw()); !errors.Is(err, token.ErrKeysUnavailable) || errors.Is(err, token.ErrInvalidToken) {
			t.Errorf("verify: error %v", err)
		}
		if r := forge.Serve(t, ring, "GET", nil); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Retry-After") != "30" || forge.Body(t, r) != "" {
			t.Errorf("GET: %d %v", r.StatusCode, r.Header)
		}
		if s := ring.Status(); !errors.Is(s.Err, token.ErrKeysUnavailable) {
			t.Errorf("status: %+v", s)
		}
		if _, err := ring.Rotate(t.Context()); !errors.Is(err, broken) {
			t.Errorf("rotate: error %v", err)
		}
		if err := ring.Remove(t.Context(), ring.Active().ID()); !errors.Is(err, broken) {
			t.Errorf("remove: error %v", err)
		}

		time.Sleep(time.Minute)
		down.Store(false)
		time.Sleep(time.Minute)
		forge.Issue(t, i, forge.Request())
		if s := ring.Status(); s.Err != nil {
			t.Errorf("status: %+v", s)
		}
		for _, want := range []string{"key store fails", "answers again", `"signing":false`} {
			if !strings.Contains(logged.String(), want) {
				t.Errorf("nothing logged of %q", want)
			}
		}
	})
}

// A store that panics has failed: the ring's own goroutine must not end the process.
func TestKeyringStorePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const secret = "what the store holds"
		var panics atomic.Bool
		call := func() error {
			if panics.Load() {
				panic(secret)
			}
			return nil
		}
		store := &hookedStore{Store: new(issue.MemoryStore), load: call, save: func(save func() error) error { return errors.Join(call(), save()) }}
		ring := openRing(t, store, issue.KeyringConfig{})
		panics.Store(true)
		time.Sleep(time.Minute)
		if s := ring.Status(); !errors.Is(s.Err, issue.ErrStore) || strings.Contains(s.Err.Error(), secret) {
			t.Errorf("status: %+v", s)
		}
		forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request())
		store.load = nil
		if _, err := ring.Rotate(t.Context()); !errors.Is(err, issue.ErrStore) || errors.Is(err, recordstore.ErrConflict) { // in Save
			t.Errorf("rotate: error %v", err)
		}
		panics.Store(false)
		time.Sleep(time.Minute)
		if s := ring.Status(); s.Err != nil {
			t.Errorf("status: %+v", s)
		}
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A store that hangs ends with the context of the caller and with Close.
func TestKeyringStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(stuckStore)
		store.stuck.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := issue.OpenKeyring(ctx, store, kept(issue.KeyringConfig{})); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, issue.ErrStore) {
			t.Errorf("open: error %v", err)
		}
		start := time.Now()
		if _, err := issue.OpenKeyring(t.Context(), store, kept(issue.KeyringConfig{})); !errors.Is(err, issue.ErrStore) || time.Since(start) != 10*time.Second {
			t.Errorf("open: error %v after %s", err, time.Since(start))
		}
		store.stuck.Store(false)
		ring := openRing(t, store, issue.KeyringConfig{})
		store.stuck.Store(true)
		time.Sleep(45 * time.Second) // a refresh is under way
		start = time.Now()
		for range 2 {
			if err := ring.Close(); err != nil || time.Since(start) != 0 {
				t.Errorf("close: error %v after %s", err, time.Since(start))
			}
		}
		if _, err := ring.Rotate(t.Context()); err == nil {
			t.Error("a closed ring rotates")
		}
		if err := ring.Remove(t.Context(), ring.Active().ID()); err == nil {
			t.Error("a closed ring removes")
		}
		forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request()) // requests under way end well
	})
}

type stuckStore struct {
	issue.MemoryStore
	stuck atomic.Bool
}

func (s *stuckStore) Load(ctx context.Context, key string) (recordstore.Record, error) {
	if s.stuck.Load() {
		<-ctx.Done()
		return recordstore.Record{}, ctx.Err()
	}
	return s.MemoryStore.Load(ctx, key)
}

// A store that is emptied or put back to a backup gets the ring back from the first instance that
// runs; one that refuses what it is given is an error.
func TestKeyringStoreForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		switching := new(switchingStore)
		switching.now.Store(new(issue.MemoryStore))
		backup := new(issue.MemoryStore)
		ring := openRing(t, switching, issue.KeyringConfig{})
		put(t, backup, stored(t, switching))
		time.Sleep(36 * time.Hour)
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		kids := func(r *issue.Keyring) string {
			var all []string
			for _, k := range r.Status().Keys {
				all = append(all, k.Key.ID())
			}
			return strings.Join(all, " ")
		}
		want := kids(ring)
		for name, store := range map[string]*issue.MemoryStore{"emptied": new(issue.MemoryStore), "put back": backup} {
			switching.now.Store(store)
			time.Sleep(time.Minute)
			other := openRing(t, switching, issue.KeyringConfig{})
			if kids(ring) != want || kids(other) != want {
				t.Errorf("%s: %s and %s, want %s", name, kids(ring), kids(other), want)
			}
		}
	})
}

type switchingStore struct {
	now atomic.Pointer[issue.MemoryStore]
}

func (s *switchingStore) Load(ctx context.Context, key string) (recordstore.Record, error) {
	return s.now.Load().Load(ctx, key)
}

func (s *switchingStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	return s.now.Load().Save(ctx, key, value, revision, expires)
}

// An unnumbered store gives records without their revision, as none may: a writer that went by it would
// overwrite what others have written.
type unnumbered struct{ issue.MemoryStore }

func (u *unnumbered) Load(ctx context.Context, key string) (recordstore.Record, error) {
	r, err := u.MemoryStore.Load(ctx, key)
	r.Revision = 0
	return r, err
}

func TestKeyringOfAStoreWithoutRevisions(t *testing.T) {
	store := new(unnumbered)
	ring, err := issue.OpenKeyring(t.Context(), &store.MemoryStore, kept(issue.KeyringConfig{}))
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	if other, err := issue.OpenKeyring(t.Context(), store, kept(issue.KeyringConfig{})); other != nil || !errors.Is(err, issue.ErrStore) || !strings.Contains(err.Error(), "without a revision") {
		t.Errorf("opened: %v", err)
	}
}
