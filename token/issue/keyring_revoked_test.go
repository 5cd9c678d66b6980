package issue_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// revokeKey has list hold k as revoked at forgedIssuer.
func revokeKey(t testing.TB, list *revoke.List, k *token.Key) {
	t.Helper()
	e := k.Revocation()
	e.Issuer = forge.Issuer
	forge.Apply(t, list, e)
}

func kids(ring *issue.Keyring) (all []string) {
	for _, k := range ring.Status().Keys {
		all = append(all, k.Key.ID())
	}
	return all
}

// The key that signs is revoked, by an issuer that may say so. The ring turns to the announced
// key in that moment, every instance to the same one, without a word to the store, which
// follows by itself; the revoked key is served no more and does not come back.
func TestKeyringOfRevokedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		store := new(issue.MemoryStore)
		lists := []*revoke.List{forge.LocalList(t, revoke.Config{}), forge.LocalList(t, revoke.Config{})}
		one := openRing(t, store, issue.KeyringConfig{Revocations: lists[0], Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		two := openRing(t, store, issue.KeyringConfig{Revocations: lists[1]})
		blind := openRing(t, store, issue.KeyringConfig{}) // knows no List, and follows the store
		time.Sleep(36 * time.Hour)
		leaked, next := one.Active(), states(one, issue.KeyAnnounced)[0]

		// Cutoffs and other keys do not concern it.
		forge.Apply(t, lists[0], revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindIssuer})
		forge.Apply(t, lists[0], revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindKey, Value: strings.Repeat("A", 43)})
		if one.Active() != leaked {
			t.Fatal("another event has ended the key")
		}
		for n, ring := range []*issue.Keyring{one, two} {
			revokeKey(t, lists[n], leaked)
			if got := forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request()).Claims().Identity().Key; got != next {
				t.Errorf("instance %d signs with %s, announced was %s", n, got, next)
			}
			if set := forge.Body(t, forge.Serve(t, ring, "GET", nil)); strings.Contains(set, leaked.ID()) || !strings.Contains(set, next) {
				t.Errorf("instance %d serves %s", n, set)
			}
			if s := ring.Status(); s.Err != nil || slices.Contains(kids(ring), leaked.ID()) || states(ring, issue.KeyActive)[0] != next {
				t.Errorf("instance %d: %+v", n, s)
			}
		}
		synctest.Wait() // no time passes
		if again := openRing(t, store, issue.KeyringConfig{}); slices.Contains(kids(again), leaked.ID()) || again.Active().ID() != next || len(states(again, issue.KeyAnnounced)) != 1 {
			t.Errorf("the store holds %v", kids(again))
		}
		time.Sleep(time.Minute)
		if got := blind.Active().ID(); got != next {
			t.Errorf("the instance without a List signs with %s", got)
		}
		if n := strings.Count(logged.String(), "key is revoked"); n != 1 || !strings.Contains(logged.String(), "level=WARN") {
			t.Errorf("logged %d times: %s", n, &logged)
		}
	})
}

// A key that is revoked while it is announced or retired goes, and another is announced.
func TestKeyringOfRevokedOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{Revocations: list})
		time.Sleep(36 * time.Hour)
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		active := ring.Active().ID()
		var gone []string
		for _, k := range ring.Status().Keys {
			if k.State != issue.KeyActive {
				revokeKey(t, list, k.Key)
				gone = append(gone, k.Key.ID())
			}
		}
		if got := kids(ring); len(gone) != 2 || len(got) != 1 || got[0] != active {
			t.Errorf("keys %v, revoked %v", got, gone)
		}
		synctest.Wait()
		if got := kids(ring); len(got) != 2 || ring.Active().ID() != active || len(states(ring, issue.KeyAnnounced)) != 1 {
			t.Errorf("keys %v, want the active one and a new one", got)
		}
	})
}

// Every key that could sign is revoked while the store is away. Nothing is signed, which is
// "try again" and no refusal, readiness says so, and a retired key goes on verifying; the
// ring heals by itself when the store is back.
func TestKeyringOfRevokedKeysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		store := &hookedStore{Store: new(issue.MemoryStore)}
		var down atomic.Bool
		gone := errors.New("no store")
		store.load = func() error {
			if down.Load() {
				return gone
			}
			return nil
		}
		ring := openRing(t, store, issue.KeyringConfig{Revocations: list})
		time.Sleep(36 * time.Hour)
		i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, token.EdDSA)
		old := forge.Issue(t, i, forge.Request())
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		retired := states(ring, issue.KeyRetired)[0]
		down.Store(true)
		for _, k := range ring.Status().Keys {
			if k.State != issue.KeyRetired {
				revokeKey(t, list, k.Key)
			}
		}
		for range 3 {
			if _, err := i.Issue(t.Context(), forge.Request()); !errors.Is(err, token.ErrKeysUnavailable) || !errors.Is(err, issue.ErrIssue) {
				t.Errorf("issue: error %v", err)
			}
			if s := ring.Status(); !errors.Is(s.Err, token.ErrKeysUnavailable) || len(s.Keys) != 1 {
				t.Errorf("status: %+v", s)
			}
			if r := forge.Serve(t, ring, "GET", nil); r.StatusCode != http.StatusOK || !strings.Contains(forge.Body(t, r), retired) {
				t.Errorf("GET: %d", r.StatusCode)
			}
			if _, err := v.Verify(t.Context(), old.Raw()); err != nil {
				t.Errorf("a token of the retired key: %v", err)
			}
			time.Sleep(10 * time.Second)
		}
		if ring.Active() == nil || !strings.Contains(ring.String(), "active") {
			t.Errorf("%v", ring)
		}
		for _, k := range ring.Status().Keys {
			revokeKey(t, list, k.Key)
		}
		if r := forge.Serve(t, ring, "GET", nil); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("GET without any key: %d", r.StatusCode)
		}
		if _, err := v.Verify(t.Context(), old.Raw()); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("a token of a revoked key: %v", err)
		}
		down.Store(false)
		time.Sleep(time.Minute)
		if s := ring.Status(); s.Err != nil || len(s.Keys) != 2 {
			t.Errorf("status: %+v", s)
		}
		if _, err := v.Verify(t.Context(), forge.Issue(t, i, forge.Request()).Raw()); err != nil {
			t.Error(err)
		}
	})
}

// A backup is put back while nobody runs, or the ring was removed from the store by
// somebody else's hand: a key that the List holds as revoked is not loaded again.
func TestKeyringBackupOfRevokedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		store, backup := new(issue.MemoryStore), new(issue.MemoryStore)
		ring := openRing(t, store, issue.KeyringConfig{Revocations: list})
		time.Sleep(36 * time.Hour)
		put(t, backup, stored(t, store))
		leaked, next := ring.Active(), states(ring, issue.KeyAnnounced)[0]
		revokeKey(t, list, leaked)
		if err := ring.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		ring.Close()

		back := openRing(t, backup, issue.KeyringConfig{Revocations: list})
		if got := kids(back); slices.Contains(got, leaked.ID()) || back.Active().ID() != next {
			t.Errorf("keys %v: %s is back", got, leaked.ID())
		}
		if set := forge.Body(t, forge.Serve(t, back, "GET", nil)); strings.Contains(set, leaked.ID()) {
			t.Errorf("served: %s", set)
		}
		// All of them: a new one signs.
		for _, k := range back.Status().Keys {
			revokeKey(t, list, k.Key)
		}
		back.Close()
		last := new(issue.MemoryStore)
		put(t, last, stored(t, store))
		anew := openRing(t, last, issue.KeyringConfig{Revocations: list})
		if got := kids(anew); slices.Contains(got, leaked.ID()) || slices.Contains(got, next) || anew.Status().Err != nil {
			t.Errorf("keys %v", got)
		}
		forge.Issue(t, forge.NewIssuer(t, anew, nil), forge.Request())
	})
}
