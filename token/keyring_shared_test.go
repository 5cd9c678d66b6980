package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

func openRing(t testing.TB, store token.KeyStore, cfg token.KeyringConfig) *token.Keyring {
	t.Helper()
	ring, err := token.OpenKeyring(t.Context(), store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// states returns the kids in one state.
func states(ring *token.Keyring, state token.KeyState) (kids []string) {
	for _, k := range ring.Status().Keys {
		if k.State == state {
			kids = append(kids, k.Key.ID())
		}
	}
	return kids
}

// waitUntil waits, at most for a year, and returns when condition held.
func waitUntil(t testing.TB, condition func() bool) time.Time {
	t.Helper()
	for range 365 * 24 * 3600 {
		synctest.Wait()
		if condition() {
			return time.Now()
		}
		time.Sleep(time.Second)
	}
	t.Fatal("never")
	return time.Time{}
}

// between fails unless got lies from d after start to one refresh later.
func between(t testing.TB, what string, start, got time.Time, d time.Duration) {
	t.Helper()
	if got.Before(start.Add(d)) || got.After(start.Add(d+45*time.Second)) {
		t.Errorf("%s after %s, want %s and at most a refresh more", what, got.Sub(start), d)
	}
}

// The whole life of a key by the schedule alone, with the defaults: T16.
func TestKeyringSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := openRing(t, new(token.MemoryStore), token.KeyringConfig{})
		start := time.Now()
		first := ring.Active().ID()
		if got := states(ring, token.KeyAnnounced); len(got) != 1 || len(ring.Status().Keys) != 2 {
			t.Fatalf("at first: %v", ring.Status().Keys)
		}
		second := states(ring, token.KeyAnnounced)[0]
		for _, kid := range []string{first, second} {
			if set := body(t, serve(t, ring, "GET", nil)); !strings.Contains(set, kid) {
				t.Errorf("%s is not published: %s", kid, set)
			}
		}
		i, v := newIssuer(t, ring, nil), ringVerifier(t, ring, token.EdDSA)

		rotated := waitUntil(t, func() bool { return ring.Active().ID() == second })
		between(t, "rotated", start, rotated, 30*24*time.Hour)
		if got := states(ring, token.KeyRetired); len(got) != 1 || got[0] != first || len(states(ring, token.KeyAnnounced)) != 1 {
			t.Errorf("after the rotation: %v", ring.Status().Keys)
		}
		issued := issue(t, i, request())
		if issued.Claims().Identity().Key != second {
			t.Error("the new key does not sign")
		}
		if _, err := v.Verify(t.Context(), issued.Token()); err != nil {
			t.Error(err)
		}
		gone := waitUntil(t, func() bool { return len(states(ring, token.KeyRetired)) == 0 })
		// An instance alone goes on for a day less 10 min; then an hour of tokens, 5 min of
		// leeway, 30 s of iat in the future, and two minutes of clocks.
		between(t, "gone", rotated, gone, 24*time.Hour-10*time.Minute+time.Hour+5*time.Minute+30*time.Second+2*time.Minute)
		if set := body(t, serve(t, ring, "GET", nil)); strings.Contains(set, first) || !strings.Contains(set, second) {
			t.Errorf("published: %s", set)
		}
	})
}

// By hand: at once if the next key is known by then, otherwise when it is.
func TestKeyringRotateShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(token.MemoryStore)
		one, two := openRing(t, store, token.KeyringConfig{}), openRing(t, store, token.KeyringConfig{})
		first, announced := one.Active(), time.Now()
		next, err := one.Rotate(t.Context())
		if err != nil || next.ID() != states(one, token.KeyAnnounced)[0] || one.Active().ID() != first.ID() {
			t.Fatalf("%v, error %v: it signs before anybody knows it", next, err)
		}
		rotated := waitUntil(t, func() bool { return one.Active().ID() == next.ID() && two.Active().ID() == next.ID() })
		between(t, "took over", announced, rotated, 24*time.Hour+time.Minute)

		time.Sleep(48 * time.Hour)
		before := one.Active().ID()
		next, err = two.Rotate(t.Context())
		if err != nil || two.Active().ID() != next.ID() || next.ID() == before {
			t.Errorf("%v, error %v: it could have taken over at once", next, err)
		}
		if r := states(two, token.KeyRetired); len(r) != 1 || r[0] != before {
			t.Errorf("retired: %v", r)
		}
		between(t, "followed", time.Now(), waitUntil(t, func() bool { return one.Active().ID() == next.ID() }), 0)
	})
}

// An emergency: the event ends the tokens at once, the announced key signs on.
func TestKeyringRemoveShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(token.MemoryStore)
		one, two := openRing(t, store, token.KeyringConfig{}), openRing(t, store, token.KeyringConfig{})
		list := localList(t, revoke.Config{})
		v := forgedVerifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, two, list, false
		})
		time.Sleep(36 * time.Hour)
		leaked, next := one.Active(), states(one, token.KeyAnnounced)[0]
		old := issue(t, newIssuer(t, one, nil), request())
		if _, err := v.Verify(t.Context(), old.Token()); err != nil {
			t.Fatal(err)
		}

		e := leaked.Revocation()
		e.Issuer = forgedIssuer
		apply(t, list, e)
		if _, err := v.Verify(t.Context(), old.Token()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("revoked key: error %v", err)
		}
		if err := one.Remove(t.Context(), leaked.ID()); err != nil {
			t.Fatal(err)
		}
		if one.Active().ID() != next || len(states(one, token.KeyAnnounced)) != 1 || len(states(one, token.KeyRetired)) != 0 {
			t.Errorf("after the removal: %v", one.Status().Keys)
		}
		if _, err := v.Verify(t.Context(), issue(t, newIssuer(t, one, nil), request()).Token()); err != nil {
			t.Errorf("the other instance knows the key that took over: %v", err)
		}
		between(t, "followed", time.Now(), waitUntil(t, func() bool { return two.Active().ID() == next }), 0)
		if _, err := v.Verify(t.Context(), old.Token()); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("removed key: error %v", err)
		}
		if err := one.Remove(t.Context(), leaked.ID()); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("removed twice: error %v", err)
		}
		// A thief of the store: every key goes, and there is still one that signs.
		for _, k := range one.Status().Keys {
			if err := one.Remove(t.Context(), k.Key.ID()); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range one.Status().Keys {
			if k.Key.ID() == next || k.Key.ID() == leaked.ID() {
				t.Error("a removed key is still there")
			}
		}
		issue(t, newIssuer(t, one, nil), request())
	})
}

// Many instances find the store empty: one set comes of it.
func TestOpenKeyringConcurrently(t *testing.T) {
	store := new(token.MemoryStore)
	rings := make([]*token.Keyring, 8)
	var wg sync.WaitGroup
	for n := range rings {
		wg.Go(func() {
			ring, err := token.OpenKeyring(t.Context(), store, token.KeyringConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			rings[n] = ring
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, ring := range rings {
		defer ring.Close()
		if ring.Active().ID() != rings[0].Active().ID() || len(ring.Status().Keys) != 2 {
			t.Errorf("%v, and the first has %v", ring.Status().Keys, rings[0].Status().Keys)
		}
	}
	for range 3 { // all rotate at once
		for _, ring := range rings {
			wg.Go(func() {
				if _, err := ring.Rotate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(rings[0].Status().Keys); n != 2 {
		t.Errorf("%d keys: a key that nobody knew was brought on", n)
	}
}

// A hookedStore lets a test into each call.
type hookedStore struct {
	token.KeyStore
	load func() error
	save func(save func() error) error
}

func (h *hookedStore) Load(ctx context.Context) ([]byte, string, error) {
	if h.load != nil {
		if err := h.load(); err != nil {
			return nil, "", err
		}
	}
	return h.KeyStore.Load(ctx)
}

func (h *hookedStore) Save(ctx context.Context, blob []byte, revision string) error {
	if h.save != nil {
		return h.save(func() error { return h.KeyStore.Save(ctx, blob, revision) })
	}
	return h.KeyStore.Save(ctx, blob, revision)
}

// A lastWriteWins is a store that ignores the revision.
type lastWriteWins struct{ token.MemoryStore }

func (l *lastWriteWins) Save(ctx context.Context, blob []byte, _ string) error {
	_, revision, err := l.Load(ctx)
	if err != nil {
		return err
	}
	return l.MemoryStore.Save(ctx, blob, revision)
}

// One instance removes a key while another's change is under way: neither is lost,
// and the other decides anew. Without compare-and-set the removed key is back.
func TestKeyringConflict(t *testing.T) {
	for name, store := range map[string]token.KeyStore{"compare-and-set": new(token.MemoryStore), "without": new(lastWriteWins)} {
		synctest.Test(t, func(t *testing.T) {
			one := openRing(t, store, token.KeyringConfig{})
			time.Sleep(36 * time.Hour)
			if _, err := one.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			retired := states(one, token.KeyRetired)[0]
			slow := &hookedStore{KeyStore: store}
			two := openRing(t, slow, token.KeyringConfig{})
			under := false
			slow.save = func(save func() error) error {
				if !under {
					under = true
					if err := one.Remove(t.Context(), retired); err != nil {
						t.Error(err)
					}
				}
				return save()
			}
			next, err := two.Rotate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if next.ID() != states(two, token.KeyAnnounced)[0] {
				t.Errorf("%s: it rotated to %s", name, next.ID())
			}
			time.Sleep(time.Minute)
			back := len(states(one, token.KeyRetired)) > 0
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
		store := &hookedStore{KeyStore: new(token.MemoryStore)}
		var saved time.Time
		store.save = func(save func() error) error {
			time.Sleep(9 * time.Second)
			err := save()
			saved = time.Now()
			time.Sleep(500 * time.Millisecond)
			return err
		}
		ring := openRing(t, store, token.KeyringConfig{})
		time.Sleep(36 * time.Hour)
		for range 2 {
			before := time.Now()
			if err := ring.Remove(t.Context(), states(ring, token.KeyAnnounced)[0]); err != nil {
				t.Fatal(err)
			}
			for _, k := range ring.Status().Keys {
				if k.State == token.KeyAnnounced && k.Since.Sub(before) < 9*time.Second {
					t.Errorf("announced %s after it was sent, and saved at %s", k.Since.Sub(before), saved.Sub(before))
				}
			}
		}
		time.Sleep(36 * time.Hour)
		before := time.Now()
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, k := range ring.Status().Keys {
			if k.Since.After(before) != (k.Since.Sub(before) >= 9*time.Second) {
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
		store := &hookedStore{KeyStore: new(token.MemoryStore)}
		var down atomic.Bool
		store.load = func() error {
			if down.Load() {
				return broken
			}
			return nil
		}
		cfg := token.KeyringConfig{MaxAge: time.Minute, AnnounceFor: time.Hour, Logger: slog.New(slog.NewJSONHandler(&logged, nil))}
		ring := openRing(t, store, cfg)
		i, v := newIssuer(t, ring, nil), ringVerifier(t, ring, token.EdDSA)
		time.Sleep(10 * time.Minute)
		down.Store(true)
		last := ring.Status().Loaded
		time.Sleep(time.Until(last.Add(58*time.Minute - time.Millisecond)))
		issued := issue(t, i, request())
		if _, err := v.Verify(t.Context(), issued.Token()); err != nil {
			t.Error(err)
		}
		if s := ring.Status(); !errors.Is(s.Err, broken) || !errors.Is(s.Err, token.ErrKeyStore) || errors.Is(s.Err, token.ErrUnavailable) || !s.Loaded.Equal(last) {
			t.Errorf("status: %+v", s)
		}
		if r := serve(t, ring, "GET", nil); r.StatusCode != 200 {
			t.Errorf("GET: %d", r.StatusCode)
		}

		time.Sleep(2 * time.Millisecond)
		if _, err := i.Issue(t.Context(), request()); !errors.Is(err, token.ErrIssue) || !errors.Is(err, token.ErrKeysUnavailable) {
			t.Errorf("issue: error %v", err)
		}
		if _, err := v.Verify(t.Context(), issued.Token()); !errors.Is(err, token.ErrKeysUnavailable) || errors.Is(err, token.ErrInvalidToken) {
			t.Errorf("verify: error %v", err)
		}
		if r := serve(t, ring, "GET", nil); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Retry-After") != "30" || body(t, r) != "" {
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
		issue(t, i, request())
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

// A store that hangs ends with the context of the caller and with Close.
func TestKeyringStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(stuckStore)
		store.stuck.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := token.OpenKeyring(ctx, store, token.KeyringConfig{}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, token.ErrKeyStore) {
			t.Errorf("open: error %v", err)
		}
		start := time.Now()
		if _, err := token.OpenKeyring(t.Context(), store, token.KeyringConfig{}); !errors.Is(err, token.ErrKeyStore) || time.Since(start) != 10*time.Second {
			t.Errorf("open: error %v after %s", err, time.Since(start))
		}
		store.stuck.Store(false)
		ring := openRing(t, store, token.KeyringConfig{})
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
		issue(t, newIssuer(t, ring, nil), request()) // requests under way end well
	})
}

type stuckStore struct {
	token.MemoryStore
	stuck atomic.Bool
}

func (s *stuckStore) Load(ctx context.Context) ([]byte, string, error) {
	if s.stuck.Load() {
		<-ctx.Done()
		return nil, "", ctx.Err()
	}
	return s.MemoryStore.Load(ctx)
}

// A store that is emptied or put back to a backup gets the ring back from whoever
// runs; one that refuses what it is given is an error.
func TestKeyringStoreForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		switching := &switchingStore{now: new(token.MemoryStore)}
		backup := new(token.MemoryStore)
		ring := openRing(t, switching, token.KeyringConfig{})
		blob, _, _ := switching.Load(t.Context())
		if err := backup.Save(t.Context(), blob, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(36 * time.Hour)
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		kids := func(r *token.Keyring) string {
			var all []string
			for _, k := range r.Status().Keys {
				all = append(all, k.Key.ID())
			}
			return strings.Join(all, " ")
		}
		want := kids(ring)
		for name, store := range map[string]*token.MemoryStore{"emptied": new(token.MemoryStore), "put back": backup} {
			switching.now = store
			time.Sleep(time.Minute)
			other := openRing(t, switching, token.KeyringConfig{})
			if kids(ring) != want || kids(other) != want {
				t.Errorf("%s: %s and %s, want %s", name, kids(ring), kids(other), want)
			}
		}
	})
}

type switchingStore struct{ now *token.MemoryStore }

func (s *switchingStore) Load(ctx context.Context) ([]byte, string, error) { return s.now.Load(ctx) }
func (s *switchingStore) Save(ctx context.Context, blob []byte, revision string) error {
	return s.now.Save(ctx, blob, revision)
}

// A clock that was set wrong when a state was noted does not stop the ring for ever.
func TestKeyringClockFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(token.MemoryStore)
		cfg := token.KeyringConfig{}
		cfg.SetClock(func() revoke.Instant { return revoke.Now().Add(10 * 365 * 24 * time.Hour) })
		wrong := openRing(t, store, cfg)
		wrong.Close()
		ring := openRing(t, store, token.KeyringConfig{})
		start := time.Now()
		between(t, "rotated", start, waitUntil(t, func() bool { return len(states(ring, token.KeyRetired)) == 1 }), 30*24*time.Hour)
	})
}

// What verifiers know already can be what the ring begins with.
func TestKeyringFirstKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, err := token.NewSigningKey("known-since-2019", token.RS256, forgeKeys().rsa)
		if err != nil {
			t.Fatal(err)
		}
		store := new(token.MemoryStore)
		cfg := token.KeyringConfig{FirstKey: known}
		ring := openRing(t, store, cfg)
		if k := ring.Active(); k.ID() != "known-since-2019" || k.Algorithm() != token.RS256 || k.Thumbprint() != known.Key().Thumbprint() {
			t.Errorf("active: %s", k)
		}
		again := openRing(t, store, cfg)
		issued := issue(t, newIssuer(t, again, nil), request())
		if _, err := ringVerifier(t, ring, token.RS256).Verify(t.Context(), issued.Token()); err != nil {
			t.Error(err)
		}
		waitUntil(t, func() bool { return ring.Active().Algorithm() == token.EdDSA })
		if _, err := ringVerifier(t, ring, token.RS256).Verify(t.Context(), issued.Token()); !errors.Is(err, token.ErrExpired) {
			t.Errorf("error %v", err)
		}
	})
}

// Only public members leave the ring, with every algorithm.
func TestSharedKeyringServesPublicKeysOnly(t *testing.T) {
	public := map[string]bool{"kty": true, "crv": true, "x": true, "y": true, "n": true, "e": true, "kid": true, "alg": true, "use": true}
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.ES384, token.ES512, token.RS256, token.PS384} {
		ring := openRing(t, new(token.MemoryStore), token.KeyringConfig{Algorithm: alg})
		set := body(t, serve(t, ring, "GET", nil))
		var parsed struct{ Keys []map[string]string }
		if err := json.Unmarshal([]byte(set), &parsed); err != nil || len(parsed.Keys) != 2 {
			t.Fatalf("%s: %s: %v", alg, set, err)
		}
		for _, k := range parsed.Keys {
			for name := range k {
				if !public[name] {
					t.Errorf("%s: member %q is published", alg, name)
				}
			}
		}
		keys, err := token.ParseKeySet([]byte(set))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ringVerifier(t, keys, alg).Verify(t.Context(), issue(t, newIssuer(t, ring, nil), request()).Token()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestOpenKeyringRefuses(t *testing.T) {
	if ring, err := token.OpenKeyring(t.Context(), nil, token.KeyringConfig{}); ring != nil || err == nil {
		t.Errorf("no store: error %v", err)
	}
	seal := sealKey(t, "a")
	elsewhere, err := token.NewSigningKey("", token.ES256, &kms{key: forgeKeys().ec})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := token.NewSigningSecret("s", token.HS256, forgeSecret)
	if err != nil {
		t.Fatal(err)
	}
	type config = token.KeyringConfig
	for _, x := range []struct {
		field     string
		bad, twin func(*config)
	}{
		{"Algorithm", func(c *config) { c.Algorithm = token.HS256 }, nil},
		{"Algorithm", func(c *config) { c.Algorithm = "none" }, func(c *config) { c.Algorithm = token.ES384 }},
		{"MaxAge", func(c *config) { c.MaxAge = time.Second - 1 }, func(c *config) { c.MaxAge = time.Second }},
		{"MaxAge", func(c *config) { c.MaxAge = 24*time.Hour + 1 }, func(c *config) { c.MaxAge = 24 * time.Hour }},
		{"AnnounceFor", func(c *config) { c.AnnounceFor = 15*time.Minute - 1 }, func(c *config) { c.AnnounceFor = 15 * time.Minute }},
		{"AnnounceFor", func(c *config) { c.AnnounceFor = -1 }, nil},
		{"AnnounceFor", func(c *config) { c.AnnounceFor = 1<<63 - 1 }, nil},
		{"MaxSkew", func(c *config) { c.MaxSkew = -1 }, nil},
		{"MaxSkew", func(c *config) { c.MaxSkew = time.Hour + 1 }, func(c *config) { c.MaxSkew = time.Hour }},
		{"RotateEvery", func(c *config) { c.RotateEvery = -1 }, nil},
		{"RotateEvery", func(c *config) { c.RotateEvery = 11 * 365 * 24 * time.Hour }, func(c *config) { c.RotateEvery = 10 * 365 * 24 * time.Hour }},
		{"RotateEvery", func(c *config) { c.AnnounceFor, c.RotateEvery = time.Hour, time.Hour }, func(c *config) { c.AnnounceFor, c.RotateEvery = time.Hour, 61*time.Minute }},
		{"RotateEvery", func(c *config) { c.RotateEvery, c.TokenLifetime = 40*time.Minute, 90*24*time.Hour }, func(c *config) { c.RotateEvery, c.TokenLifetime = 24*time.Hour, 90*24*time.Hour }},
		{"TokenLifetime", func(c *config) { c.TokenLifetime = time.Second - 1 }, func(c *config) { c.TokenLifetime = time.Second }},
		{"TokenLifetime", func(c *config) { c.TokenLifetime = 91 * 24 * time.Hour }, nil},
		{"RefreshInterval", func(c *config) { c.RefreshInterval = -1 }, nil},
		{"RefreshInterval", func(c *config) { c.RefreshInterval, c.AnnounceFor = time.Hour, 2*time.Hour }, func(c *config) { c.RefreshInterval, c.AnnounceFor = 55*time.Minute, 2*time.Hour }},
		{"SealKeys", func(c *config) { c.SealKeys = []*token.SealKey{nil} }, func(c *config) { c.SealKeys = []*token.SealKey{seal} }},
		{"SealKeys", func(c *config) { c.SealKeys = []*token.SealKey{{}} }, nil},
		{"SealKeys", func(c *config) { c.SealKeys = []*token.SealKey{seal, sealKey(t, "a")} }, func(c *config) { c.SealKeys = []*token.SealKey{seal, sealKey(t, "b")} }},
		{"InsecureOpenPlain", func(c *config) { c.InsecureOpenPlain = true }, func(c *config) { c.InsecureOpenPlain, c.SealKeys = true, []*token.SealKey{seal} }},
		{"FirstKey", func(c *config) { c.FirstKey = elsewhere }, nil},
		{"FirstKey", func(c *config) { c.FirstKey = secret }, nil},
		{"FirstKey", func(c *config) { c.FirstKey = &token.SigningKey{} }, nil},
	} {
		var cfg config
		x.bad(&cfg)
		if ring, err := token.OpenKeyring(t.Context(), new(token.MemoryStore), cfg); ring != nil || err == nil || !strings.Contains(err.Error(), "KeyringConfig."+x.field+" ") {
			t.Errorf("%s: error %v", x.field, err)
		}
		cfg = config{}
		if x.twin != nil {
			x.twin(&cfg)
		}
		ring, err := token.OpenKeyring(t.Context(), new(token.MemoryStore), cfg)
		if err != nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
			continue
		}
		ring.Close()
	}
}

// A key must not be gone before its tokens.
func TestIssuerLifetimeOfRing(t *testing.T) {
	ring := openRing(t, new(token.MemoryStore), token.KeyringConfig{TokenLifetime: 10 * time.Minute})
	cfg := token.IssuerConfig{Issuer: forgedIssuer, Keys: ring}
	if _, err := token.NewIssuer(cfg); err == nil || !strings.Contains(err.Error(), "IssuerConfig.Lifetime ") {
		t.Errorf("error %v", err)
	}
	cfg.Lifetime = 10 * time.Minute
	if _, err := token.NewIssuer(cfg); err != nil {
		t.Error(err)
	}
}
