package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

func serve(t testing.TB, h http.Handler, method string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "/.well-known/jwks.json", nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is published verifies, and holds no private member, for every algorithm.
func TestKeyringServesPublicKeysOnly(t *testing.T) {
	public := map[string]bool{"kty": true, "crv": true, "x": true, "y": true, "n": true, "e": true, "kid": true, "alg": true, "use": true}
	for _, alg := range []token.Algorithm{"", token.EdDSA, token.ES256, token.ES384, token.ES512, token.RS256, token.PS512} {
		ring := newRing(t, token.KeyringConfig{Algorithm: alg})
		set := body(t, serve(t, ring, "GET", nil))
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
		issued := issue(t, newIssuer(t, ring, nil), request())
		if _, err := ringVerifier(t, keys, ring.Active().Algorithm()).Verify(t.Context(), issued.Token()); err != nil {
			t.Errorf("%q: %v", alg, err)
		}
	}
}

func TestKeyringHTTP(t *testing.T) {
	ring := newRing(t, token.KeyringConfig{MaxAge: time.Minute})
	got := serve(t, ring, "GET", nil)
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/jwk-set+json" || got.Header.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("GET: %d %v", got.StatusCode, got.Header)
	}
	etag := got.Header.Get("ETag")
	head := serve(t, ring, "HEAD", nil)
	if head.StatusCode != 200 || body(t, head) != "" || head.Header.Get("ETag") != etag {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	if r := serve(t, ring, "GET", http.Header{"If-None-Match": {etag}}); r.StatusCode != http.StatusNotModified || body(t, r) != "" {
		t.Errorf("If-None-Match: %d", r.StatusCode)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		if r := serve(t, ring, method, nil); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" || body(t, r) != "" {
			t.Errorf("%s: %d %v", method, r.StatusCode, r.Header)
		}
	}
	if _, err := ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := serve(t, ring, "GET", http.Header{"If-None-Match": {etag}}); r.StatusCode != 200 || r.Header.Get("ETag") == etag {
		t.Errorf("after a rotation: %d, ETag %s", r.StatusCode, r.Header.Get("ETag"))
	}
}

// The new key signs, the old one verifies until it is removed, and then it is
// really gone.
func TestKeyringRotation(t *testing.T) {
	ring := newRing(t, token.KeyringConfig{})
	i, v := newIssuer(t, ring, nil), ringVerifier(t, ring, token.EdDSA)
	old := ring.Active()
	before := issue(t, i, request())
	key, err := ring.Rotate(t.Context())
	if err != nil || key != ring.Active() || key.ID() == old.ID() {
		t.Fatalf("%v, error %v", key, err)
	}
	after := issue(t, i, request())
	if k := after.Claims().Identity().Key; k != key.Thumbprint() {
		t.Errorf("signed with %s, want %s", k, key.Thumbprint())
	}
	for _, issued := range []*token.Issued{before, after} {
		if _, err := v.Verify(t.Context(), issued.Token()); err != nil {
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
	if _, err := v.Verify(t.Context(), before.Token()); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("removed key: error %v", err)
	}
	if _, err := v.Verify(t.Context(), after.Token()); err != nil {
		t.Error(err)
	}
	if set := body(t, serve(t, ring, "GET", nil)); strings.Contains(set, old.ID()) || !strings.Contains(set, key.ID()) {
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
	ring := newRing(t, token.KeyringConfig{})
	var key *token.Key
	var err error
	n := 1
	for ; err == nil && n < 1000; n++ {
		key, err = ring.Rotate(t.Context())
	}
	if n > 101 || err == nil || key != nil {
		t.Fatalf("%d keys, key %v, error %v", n, key, err)
	}
	if _, err := token.ParseKeySet([]byte(body(t, serve(t, ring, "GET", nil)))); err != nil {
		t.Error(err)
	}
}

func TestNewEphemeralKeyringRefuses(t *testing.T) {
	for field, cfg := range map[string]token.KeyringConfig{
		"Algorithm HS256": {Algorithm: token.HS256},
		"Algorithm HS512": {Algorithm: token.HS512},
		"Algorithm":       {Algorithm: "none"},
		"MaxAge":          {MaxAge: -1},
		"MaxAge ":         {MaxAge: 25 * time.Hour},
	} {
		if ring, err := token.NewEphemeralKeyring(cfg); ring != nil || err == nil || !strings.Contains(err.Error(), "KeyringConfig."+field) {
			t.Errorf("%s: error %v", field, err)
		}
	}
}

func TestKeyringConcurrently(t *testing.T) {
	ring := newRing(t, token.KeyringConfig{})
	i, v := newIssuer(t, ring, nil), ringVerifier(t, ring, token.EdDSA)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				if _, err := v.Verify(t.Context(), issue(t, i, request()).Token()); err != nil {
					t.Error(err)
				}
				if _, err := token.ParseKeySet([]byte(body(t, serve(t, ring, "GET", nil)))); err != nil {
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
