package token

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A served set answers each request with itself and remembers what was asked.
type servedSet struct {
	set  string
	seen []*http.Request
}

func (s *servedSet) RoundTrip(r *http.Request) (*http.Response, error) {
	s.seen = append(s.seen, r)
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(s.set)), Request: r}, nil
}

// A set is fetched anew from the very moment on at which it is no longer fresh, and not a moment
// before; each request says what it wants.
func TestRemoteKeysAreDueAtTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public().(ed25519.PublicKey)
		s := &servedSet{set: `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"a","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}]}`}
		keys, err := NewRemoteKeySet(t.Context(), "https://auth.example.com/jwks.json", RemoteKeySetConfig{Transport: s})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		ask := func(want int) {
			t.Helper()
			if _, err := keys.Lookup(t.Context(), "a", EdDSA); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(s.seen) != want {
				t.Fatalf("%d fetches, want %d", len(s.seen), want)
			}
		}
		ask(1)
		for n := range 5 {
			time.Sleep(keys.current.Load().fresh - 1)
			ask(n + 1)
			time.Sleep(time.Nanosecond)
			ask(n + 2)
		}
		for _, r := range s.seen {
			if accept := r.Header.Get("Accept"); !strings.Contains(accept, "application/jwk-set+json") || !strings.Contains(accept, "application/json") {
				t.Errorf("asked for %q", accept)
			}
		}
	})
}
