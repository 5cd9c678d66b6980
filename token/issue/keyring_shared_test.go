package issue_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func openRing(t testing.TB, store issue.Store, cfg issue.KeyringConfig) *issue.Keyring {
	t.Helper()
	if _, file := store.(*issue.FileStore); !file {
		cfg = kept(cfg)
	}
	ring, err := issue.OpenKeyring(t.Context(), store, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// privateDir returns a directory that only its owner can write to, which
// t.TempDir does not promise.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func fileStore(t testing.TB, path string) *issue.FileStore {
	t.Helper()
	s, err := issue.NewFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kept returns cfg with what it takes in a store that is no file, if that is not there.
func kept(cfg issue.KeyringConfig) issue.KeyringConfig {
	if cfg.Issuer == "" {
		cfg.Issuer = forge.Issuer
	}
	if cfg.SealKeys == nil {
		seal, err := issue.NewSealKey("of-tests", sealSecret("tests"))
		if err != nil {
			panic(err)
		}
		cfg.SealKeys = []*issue.SealKey{seal}
	}
	return cfg
}

// stored returns what store holds of the ring of forgedIssuer.
func stored(t testing.TB, store issue.Store) []byte {
	t.Helper()
	r, err := store.Load(t.Context(), issue.RingKey(forge.Issuer))
	if err != nil {
		t.Fatal(err)
	}
	return r.Value
}

// put has an empty store hold blob as the ring of forgedIssuer.
func put(t testing.TB, store issue.Store, blob []byte) {
	t.Helper()
	if _, err := store.Save(t.Context(), issue.RingKey(forge.Issuer), blob, 0, time.Now().AddDate(100, 0, 0)); err != nil {
		t.Fatal(err)
	}
}

// states returns the kids in one state.
func states(ring *issue.Keyring, state string) (kids []string) {
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

// The whole life of a key by the schedule alone, with the defaults.
func TestKeyringSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{})
		start := time.Now()
		first := ring.Active().ID()
		if got := states(ring, issue.KeyAnnounced); len(got) != 1 || len(ring.Status().Keys) != 2 {
			t.Fatalf("at first: %v", ring.Status().Keys)
		}
		second := states(ring, issue.KeyAnnounced)[0]
		for _, kid := range []string{first, second} {
			if set := forge.Body(t, forge.Serve(t, ring, "GET", nil)); !strings.Contains(set, kid) {
				t.Errorf("%s is not published: %s", kid, set)
			}
		}
		i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, token.EdDSA)

		rotated := waitUntil(t, func() bool { return ring.Active().ID() == second })
		between(t, "rotated", start, rotated, 30*24*time.Hour)
		if got := states(ring, issue.KeyRetired); len(got) != 1 || got[0] != first || len(states(ring, issue.KeyAnnounced)) != 1 {
			t.Errorf("after the rotation: %v", ring.Status().Keys)
		}
		issued := forge.Issue(t, i, forge.Request())
		if issued.Claims().Identity().Key != second {
			t.Error("the new key does not sign")
		}
		if _, err := v.Verify(t.Context(), issued.Raw()); err != nil {
			t.Error(err)
		}
		gone := waitUntil(t, func() bool { return len(states(ring, issue.KeyRetired)) == 0 })
		// An instance alone goes on for a day less 10 min; then an hour of tokens, 5 min of
		// leeway, 30 s of iat in the future, 30 s of a store that lags, and two minutes of clocks.
		between(t, "gone", rotated, gone, 24*time.Hour-10*time.Minute+time.Hour+5*time.Minute+30*time.Second+30*time.Second+2*time.Minute)
		if set := forge.Body(t, forge.Serve(t, ring, "GET", nil)); strings.Contains(set, first) || !strings.Contains(set, second) {
			t.Errorf("published: %s", set)
		}
	})
}

// By hand: at once if the next key is known by then, otherwise when it is.
func TestKeyringRotateShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(issue.MemoryStore)
		one, two := openRing(t, store, issue.KeyringConfig{}), openRing(t, store, issue.KeyringConfig{})
		first, announced := one.Active(), time.Now()
		next, err := one.Rotate(t.Context())
		if err != nil || next.ID() != states(one, issue.KeyAnnounced)[0] || one.Active().ID() != first.ID() {
			t.Fatalf("%v, error %v: it signs before anybody knows it", next, err)
		}
		rotated := waitUntil(t, func() bool { return one.Active().ID() == next.ID() && two.Active().ID() == next.ID() })
		between(t, "took over", announced, rotated, 24*time.Hour+time.Minute+30*time.Second)

		time.Sleep(48 * time.Hour)
		before := one.Active().ID()
		next, err = two.Rotate(t.Context())
		if err != nil || two.Active().ID() != next.ID() || next.ID() == before {
			t.Errorf("%v, error %v: it could have taken over at once", next, err)
		}
		if r := states(two, issue.KeyRetired); len(r) != 1 || r[0] != before {
			t.Errorf("retired: %v", r)
		}
		between(t, "followed", time.Now(), waitUntil(t, func() bool { return one.Active().ID() == next.ID() }), 0)
	})
}

// An emergency: the event ends the tokens at once, the announced key signs on.
func TestKeyringRemoveShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(issue.MemoryStore)
		one, two := openRing(t, store, issue.KeyringConfig{}), openRing(t, store, issue.KeyringConfig{})
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, two, list, false
		})
		time.Sleep(36 * time.Hour)
		leaked, next := one.Active(), states(one, issue.KeyAnnounced)[0]
		old := forge.Issue(t, forge.NewIssuer(t, one, nil), forge.Request())
		if _, err := v.Verify(t.Context(), old.Raw()); err != nil {
			t.Fatal(err)
		}

		e := leaked.Revocation()
		e.Issuer = forge.Issuer
		forge.Apply(t, list, e)
		if _, err := v.Verify(t.Context(), old.Raw()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("revoked key: error %v", err)
		}
		if err := one.Remove(t.Context(), leaked.ID()); err != nil {
			t.Fatal(err)
		}
		if one.Active().ID() != next || len(states(one, issue.KeyAnnounced)) != 1 || len(states(one, issue.KeyRetired)) != 0 {
			t.Errorf("after the removal: %v", one.Status().Keys)
		}
		if _, err := v.Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, one, nil), forge.Request()).Raw()); err != nil {
			t.Errorf("the other instance knows the key that took over: %v", err)
		}
		between(t, "followed", time.Now(), waitUntil(t, func() bool { return two.Active().ID() == next }), 0)
		if _, err := v.Verify(t.Context(), old.Raw()); !errors.Is(err, token.ErrUnknownKey) {
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
		forge.Issue(t, forge.NewIssuer(t, one, nil), forge.Request())
	})
}

// Many instances find the store empty: one set comes of it.
func TestOpenKeyringConcurrently(t *testing.T) {
	store := new(issue.MemoryStore)
	rings := make([]*issue.Keyring, 8)
	var wg sync.WaitGroup
	for n := range rings {
		wg.Go(func() {
			ring, err := issue.OpenKeyring(t.Context(), store, kept(issue.KeyringConfig{}))
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

// A clock that was set wrong when a state was noted does not stop the ring for ever.
func TestKeyringClockFromTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(issue.MemoryStore)
		cfg := issue.KeyringConfig{}
		cfg.SetClock(func() revoke.Instant { return revoke.Now().Add(10 * 365 * 24 * time.Hour) })
		wrong := openRing(t, store, cfg)
		wrong.Close()
		ring := openRing(t, store, issue.KeyringConfig{})
		start := time.Now()
		between(t, "rotated", start, waitUntil(t, func() bool { return len(states(ring, issue.KeyRetired)) == 1 }), 30*24*time.Hour)
	})
}

// What verifiers know already can be what the ring begins with.
func TestKeyringFirstKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, err := issue.NewSigningKey("known-since-2019", token.RS256, forge.Keys().Rsa)
		if err != nil {
			t.Fatal(err)
		}
		store := new(issue.MemoryStore)
		cfg := issue.KeyringConfig{FirstKey: known}
		ring := openRing(t, store, cfg)
		if k := ring.Active(); k.ID() != "known-since-2019" || k.Algorithm() != token.RS256 || k.Thumbprint() != known.Key().Thumbprint() {
			t.Errorf("active: %s", k)
		}
		again := openRing(t, store, cfg)
		issued := forge.Issue(t, forge.NewIssuer(t, again, nil), forge.Request())
		if _, err := forge.RingVerifier(t, ring, token.RS256).Verify(t.Context(), issued.Raw()); err != nil {
			t.Error(err)
		}
		waitUntil(t, func() bool { return ring.Active().Algorithm() == token.EdDSA })
		if _, err := forge.RingVerifier(t, ring, token.RS256).Verify(t.Context(), issued.Raw()); !errors.Is(err, token.ErrExpired) {
			t.Errorf("error %v", err)
		}
	})
}

// Only public members leave the ring, with every algorithm.
func TestSharedKeyringServesPublicKeysOnly(t *testing.T) {
	public := map[string]bool{"kty": true, "crv": true, "x": true, "y": true, "n": true, "e": true, "kid": true, "alg": true, "use": true}
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.ES384, token.ES512, token.RS256, token.PS384} {
		ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{Algorithm: alg})
		set := forge.Body(t, forge.Serve(t, ring, "GET", nil))
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
		if _, err := forge.RingVerifier(t, keys, alg).Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request()).Raw()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

func TestOpenKeyringRefuses(t *testing.T) {
	if ring, err := issue.OpenKeyring(t.Context(), nil, issue.KeyringConfig{}); ring != nil || err == nil {
		t.Errorf("no store: error %v", err)
	}
	seal := sealKey(t, "a")
	elsewhere, err := issue.NewSigningKey("", token.ES256, &kms{key: forge.Keys().Ec})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := issue.NewSigningSecret("s", token.HS256, forge.Secret)
	if err != nil {
		t.Fatal(err)
	}
	type config = issue.KeyringConfig
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
		{"SealKeys", func(c *config) { c.SealKeys = []*issue.SealKey{nil} }, func(c *config) { c.SealKeys = []*issue.SealKey{seal} }},
		{"SealKeys", func(c *config) { c.SealKeys = []*issue.SealKey{{}} }, nil},
		{"SealKeys", func(c *config) { c.SealKeys = []*issue.SealKey{seal, sealKey(t, "a")} }, func(c *config) { c.SealKeys = []*issue.SealKey{seal, sealKey(t, "b")} }},
		{"InsecureOpenPlain", func(c *config) { c.InsecureOpenPlain, c.SealKeys = true, []*issue.SealKey{} }, func(c *config) { c.InsecureOpenPlain, c.SealKeys = true, []*issue.SealKey{seal} }},
		{"Issuer", func(c *config) { c.Issuer = strings.Repeat("x", revoke.MaxValueBytes+1) }, func(c *config) { c.Issuer = strings.Repeat("x", revoke.MaxValueBytes) }},
		{"SealKeys", func(c *config) { c.SealKeys = []*issue.SealKey{} }, nil},
		{"RotateEvery", func(c *config) {
			c.Algorithm, c.RotateEvery, c.TokenLifetime = token.RS256, 2*24*time.Hour, 90*24*time.Hour
		}, func(c *config) { c.RotateEvery, c.TokenLifetime = 2*24*time.Hour, 90*24*time.Hour }},
		{"FirstKey", func(c *config) { c.FirstKey = elsewhere }, nil},
		{"FirstKey", func(c *config) { c.FirstKey = secret }, nil},
		{"FirstKey", func(c *config) { c.FirstKey = &issue.SigningKey{} }, nil},
	} {
		var cfg config
		x.bad(&cfg)
		if ring, err := issue.OpenKeyring(t.Context(), new(issue.MemoryStore), kept(cfg)); ring != nil || err == nil || !strings.Contains(err.Error(), "KeyringConfig."+x.field+" ") {
			t.Errorf("%s: error %v", x.field, err)
		}
		cfg = config{}
		if x.twin != nil {
			x.twin(&cfg)
		}
		ring, err := issue.OpenKeyring(t.Context(), new(issue.MemoryStore), kept(cfg))
		if err != nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
			continue
		}
		ring.Close()
	}
}

// A key must not be gone before its tokens.
func TestIssuerLifetimeOfRing(t *testing.T) {
	ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{TokenLifetime: 10 * time.Minute})
	cfg := issue.Config{Issuer: forge.Issuer, Keys: ring}
	if _, err := issue.NewIssuer(cfg); err == nil || !strings.Contains(err.Error(), "issue: Config.Lifetime ") {
		t.Errorf("error %v", err)
	}
	cfg.Lifetime = 10 * time.Minute
	if _, err := issue.NewIssuer(cfg); err != nil {
		t.Error(err)
	}
}
