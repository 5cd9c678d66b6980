package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hybridtoken/hybridtoken/token"
)

// A web answers by URL, without sockets. What it does not know is not found.
type Web struct {
	mu    sync.Mutex
	pages map[string]http.Handler
	calls []string
}

func (w *Web) Set(url string, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pages == nil {
		w.pages = make(map[string]http.Handler)
	}
	w.pages[url] = h
}

// Asked returns the URLs asked for since the last call.
func (w *Web) Asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *Web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.pages[r.URL.String()]
	w.calls = append(w.calls, r.URL.String())
	w.mu.Unlock()
	if h == nil {
		h = http.NotFoundHandler()
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func Metadata(issuer, jwksURI string) Object {
	return Object{"issuer", strconv.Quote(issuer), "authorization_endpoint", `"https://a.example/auth"`, "jwks_uri", strconv.Quote(jwksURI), "id_token_signing_alg_values_supported", `["RS256","none"]`}
}

func Discover(t *testing.T, w *Web, issuer string) *token.RemoteKeySet {
	t.Helper()
	keys, err := token.Discover(t.Context(), issuer, token.RemoteKeySetConfig{Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	return keys
}

// JWK writes the public JWK of a key by hand, with nothing but what defines it.
func JWK(t testing.TB, public crypto.PublicKey) Object {
	t.Helper()
	text := func(b []byte) string { return strconv.Quote(base64.RawURLEncoding.EncodeToString(b)) }
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Object{"kty", `"OKP"`, "crv", `"Ed25519"`, "x", text(k)}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return Object{"kty", `"EC"`, "crv", strconv.Quote(k.Params().Name), "x", text(point[1 : 1+half]), "y", text(point[1+half:])}
	case *rsa.PublicKey:
		return Object{"kty", `"RSA"`, "n", text(k.N.Bytes()), "e", text(big.NewInt(int64(k.E)).Bytes())}
	}
	t.Fatalf("no JWK of a %T", public)
	return nil
}

func JWKS(keys ...Object) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.String()
	}
	return `{"keys":[` + strings.Join(all, ",") + `]}`
}

func KeysAt(t testing.TB, kid string) http.Handler {
	return JSON(JWKS(JWK(t, Keys().Ed.Public()).With("kid", strconv.Quote(kid))))
}

func Serve(t testing.TB, h http.Handler, method string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "/.well-known/jwks.json", nil)
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func Body(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func JSON(set string, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		io.WriteString(w, set)
	})
}

// FetchDue has a fetch that is due begin, within a bubble, and returns when it has
// ended. The look-up itself is answered from before or after it, as it comes.
func FetchDue(t *testing.T, keys token.KeySet, kid string) {
	t.Helper()
	_, _ = keys.Lookup(t.Context(), kid, token.EdDSA)
	synctest.Wait()
}

func Find(t *testing.T, keys token.KeySet, kid string, want error) {
	t.Helper()
	key, err := keys.Lookup(t.Context(), kid, token.EdDSA)
	if !errors.Is(err, want) || (key == nil) == (err == nil) {
		t.Errorf("look-up of %q: key %v, error %v, want %v", kid, key, err, want)
	}
	if err != nil && errors.Is(err, token.ErrUnknownKey) == errors.Is(err, token.ErrUnavailable) {
		t.Errorf("look-up of %q: error %v is of both families or of none", kid, err)
	}
}
