package issue_test

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A ring without a seal is told of when it is opened, once, and one with a seal is not.
func TestKeyringWithoutASealIsTold(t *testing.T) {
	for sealed, want := range map[bool]int{true: 0, false: 1} {
		var logged bytes.Buffer
		cfg := issue.KeyringConfig{Logger: slog.New(slog.NewTextHandler(&logged, nil))}
		if sealed {
			cfg.SealKeys = []*issue.SealKey{sealKey(t, "a")}
		}
		openRing(t, fileStore(t, filepath.Join(privateDir(t), "ring.json")), cfg)
		if n := strings.Count(logged.String(), "level=WARN"); n != want || strings.Count(logged.String(), "without a seal") != want {
			t.Errorf("sealed %t: %s", sealed, &logged)
		}
	}
}

// A key that is revoked is told of once, as revoked, and not as one whose time is over; a
// removed one the other way round.
func TestRevokedKeyIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		list := forge.LocalList(t, revoke.Config{})
		ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{Revocations: list, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		time.Sleep(36 * time.Hour)
		if err := ring.Remove(t.Context(), states(ring, issue.KeyAnnounced)[0]); err != nil {
			t.Fatal(err)
		}
		if gone, revoked := strings.Count(logged.String(), "key is gone"), strings.Count(logged.String(), "key is revoked"); gone != 1 || revoked != 0 {
			t.Errorf("removed: told %d times as gone, %d times as revoked", gone, revoked)
		}
		time.Sleep(36 * time.Hour)
		logged.Reset()
		for _, k := range ring.Status().Keys {
			if k.State == issue.KeyActive {
				revokeKey(t, list, k.Key)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if gone, revoked := strings.Count(logged.String(), "key is gone"), strings.Count(logged.String(), "key is revoked"); gone != 0 || revoked != 1 {
			t.Errorf("revoked: told %d times as gone, %d times as revoked: %s", gone, revoked, &logged)
		}
	})
}

// After Close nothing is changed any more, and the caller is told why.
func TestKeyringClosedChangesNothing(t *testing.T) {
	store := new(issue.MemoryStore)
	ring := openRing(t, store, issue.KeyringConfig{})
	announced, before := states(ring, issue.KeyAnnounced)[0], stored(t, store)
	ring.Close()
	if _, err := ring.Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Rotate: error %v", err)
	}
	if err := ring.Remove(t.Context(), announced); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Remove: error %v", err)
	}
	if !bytes.Equal(before, stored(t, store)) {
		t.Error("the store was changed")
	}
}

// A store that fails is asked again ever more rarely, until once in half a minute or so, never
// more rarely than the interval, and at the interval again once it answers.
func TestKeyringAsksAFailingStoreEverMoreRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var asked []time.Time
		var failure error
		store := &hookedStore{Store: new(issue.MemoryStore)}
		store.load = func() error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Now())
			return failure
		}
		fail := func(err error) {
			mu.Lock()
			defer mu.Unlock()
			failure = err
		}
		ring := openRing(t, store, issue.KeyringConfig{RefreshInterval: 10 * time.Minute})
		gaps := func(d time.Duration) (list []time.Duration) {
			mu.Lock()
			asked = nil
			mu.Unlock()
			time.Sleep(d)
			mu.Lock()
			defer mu.Unlock()
			for i := 1; i < len(asked); i++ {
				list = append(list, asked[i].Sub(asked[i-1]))
			}
			return list
		}
		fail(errors.New("no store"))
		failing := gaps(24 * time.Hour)
		longest := time.Duration(0)
		for i, d := range failing {
			most := min(time.Second<<min(i, 10), 32*time.Second)
			if d > most || d < most*3/4 {
				t.Fatalf("failure %d is followed by a pause of %s, not up to %s", i+1, d, most)
			}
			longest = max(longest, d)
		}
		if len(failing) < 2000 || longest < 31*time.Second {
			t.Errorf("asked %d times in a day, at most %s apart", len(failing), longest)
		}
		if ring.Status().Err == nil {
			t.Error("the status tells of no failure")
		}
		fail(nil)
		time.Sleep(time.Minute)
		for _, d := range gaps(24 * time.Hour) {
			if d < 7*time.Minute+30*time.Second || d > 12*time.Minute+30*time.Second {
				t.Fatalf("a store that answers is asked %s later", d)
			}
		}
		if err := ring.Status().Err; err != nil {
			t.Errorf("the status tells of a failure that is over: %v", err)
		}
	})
}
