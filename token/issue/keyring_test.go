package issue_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What is published verifies, and holds no private member, for every algorithm.
func TestKeyringServesPublicKeysOnly(t *testing.T) {
	public := map[string]bool{"kty": true, "crv": true, "x": true, "y": true, "n": true, "e": true, "kid": true, "alg": true, "use": true}
	for _, alg := range []token.Algorithm{"", token.EdDSA, token.ES256, token.ES384, token.ES512, token.RS256, token.PS512} {
		ring := forge.Ring(t, issue.KeyringConfig{Algorithm: alg})
		set := forge.Body(t, forge.Serve(t, ring, "GET", nil))
		var parsed struct{ Keys []map[string]string }
		if err := json.Unmarshal([]byte(set), &parsed); err != nil || len(parsed.Keys) != 1 {
			t.Fatalf("%q: %s: %v", alg, set, err)
		}
		for name := range parsed.Keys[0] {
			if !public[name] {
				t.Errorf("%q: member %q is published", alg, name)
			}
		}
		keys, err := token.ParseKeySet([]byte(set))
		if err != nil {
			t.Fatal(err)
		}
		issued := forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request())
		if _, err := forge.RingVerifier(t, keys, ring.Active().Algorithm()).Verify(t.Context(), issued.Raw()); err != nil {
			t.Errorf("%q: %v", alg, err)
		}
	}
}

func TestKeyringHTTP(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{MaxAge: time.Minute})
	got := forge.Serve(t, ring, "GET", nil)
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/jwk-set+json" || got.Header.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("GET: %d %v", got.StatusCode, got.Header)
	}
	etag := got.Header.Get("ETag")
	head := forge.Serve(t, ring, "HEAD", nil)
	if head.StatusCode != 200 || forge.Body(t, head) != "" || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	if r := forge.Serve(t, ring, "GET", http.Header{"If-None-Match": {etag}}); r.StatusCode != http.StatusNotModified || forge.Body(t, r) != "" {
		t.Errorf("If-None-Match: %d", r.StatusCode)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		if r := forge.Serve(t, ring, method, nil); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" || forge.Body(t, r) != "" {
			t.Errorf("%s: %d %v", method, r.StatusCode, r.Header)
		}
	}
	if _, err := ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := forge.Serve(t, ring, "GET", http.Header{"If-None-Match": {etag}}); r.StatusCode != 200 || r.Header.Get("ETag") == etag {
		t.Errorf("after a rotation: %d, ETag %s", r.StatusCode, r.Header.Get("ETag"))
	}
}

// The new key signs, the old one verifies until it is removed, and then it is
// really gone.
func TestKeyringRotation(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, token.EdDSA)
	old := ring.Active()
	before := forge.Issue(t, i, forge.Request())
	key, err := ring.Rotate(t.Context())
	if err != nil || key != ring.Active() || key.ID() == old.ID() {
		t.Fatalf("%v, error %v", key, err)
	}
	after := forge.Issue(t, i, forge.Request())
	if k := after.Claims().Identity().Key; k != key.Thumbprint() {
		t.Errorf("signed with %s, want %s", k, key.Thumbprint())
	}
	for _, issued := range []*issue.Token{before, after} {
		if _, err := v.Verify(t.Context(), issued.Raw()); err != nil {
			t.Error(err)
		}
	}
	if err := ring.Remove(t.Context(), key.ID()); err == nil {
		t.Error("the key that signs is removed")
	}
	if err := ring.Remove(t.Context(), "nobody"); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("unknown kid: error %v", err)
	}
	if err := ring.Remove(t.Context(), old.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), before.Raw()); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("removed key: error %v", err)
	}
	if _, err := v.Verify(t.Context(), after.Raw()); err != nil {
		t.Error(err)
	}
	if set := forge.Body(t, forge.Serve(t, ring, "GET", nil)); strings.Contains(set, old.ID()) || !strings.Contains(set, key.ID()) {
		t.Errorf("published: %s", set)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ring.Rotate(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if err := ring.Remove(ctx, old.ID()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}

// A ring that is only ever rotated would grow beyond what verifiers read.
func TestKeyringIsBounded(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	var key *token.Key
	var err error
	n := 1
	for ; err == nil && n < 1000; n++ {
		key, err = ring.Rotate(t.Context())
	}
	if n > 101 || err == nil || key != nil {
		t.Fatalf("%d keys, key %v, error %v", n, key, err)
	}
	if _, err := token.ParseKeySet([]byte(forge.Body(t, forge.Serve(t, ring, "GET", nil)))); err != nil {
		t.Error(err)
	}
}

func TestNewEphemeralKeyringRefuses(t *testing.T) {
	for field, cfg := range map[string]issue.KeyringConfig{
		"Algorithm HS256": {Algorithm: token.HS256},
		"Algorithm HS512": {Algorithm: token.HS512},
		"Algorithm":       {Algorithm: "none"},
		"MaxAge":          {MaxAge: -1},
		"MaxAge ":         {MaxAge: 25 * time.Hour},
	} {
		if ring, err := issue.NewEphemeralKeyring(cfg); ring != nil || err == nil || !strings.Contains(err.Error(), "KeyringConfig."+field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
}

func TestKeyringConcurrently(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, token.EdDSA)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				if _, err := v.Verify(t.Context(), forge.Issue(t, i, forge.Request()).Raw()); err != nil {
					t.Error(err)
				}
				if _, err := token.ParseKeySet([]byte(forge.Body(t, forge.Serve(t, ring, "GET", nil)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}
