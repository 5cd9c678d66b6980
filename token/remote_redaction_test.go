package token_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Invariant 10: the query of a key server's URL, which may hold a key, is shown by
// nothing that prints a key set, and goes to no other host.
func TestRemoteKeysKeepTheirQuery(t *testing.T) {
	const secret = "q9f2secretquery"
	var referer atomic.Pointer[string]
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := r.Referer() + r.URL.RawQuery
		referer.Store(&got)
		forge.KeysAt(t, "k").ServeHTTP(w, r)
	}))
	t.Cleanup(other.Close)
	var asked atomic.Bool
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Query().Get("key") == secret) // the good twin: it gets there
		http.Redirect(w, r, other.URL+"/keys", http.StatusFound)
	}))
	t.Cleanup(home.Close)
	keys, err := token.NewRemoteKeySet(t.Context(), home.URL+"/jwks?key="+secret, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	if _, err := keys.Lookup(t.Context(), "k", token.EdDSA); err != nil || !asked.Load() {
		t.Fatalf("asked with the query %v, error %v", asked.Load(), err)
	}
	if got := *referer.Load(); got != "" {
		t.Errorf("the other host was told %q", got)
	}
	if s := fmt.Sprint(keys); s != "token.RemoteKeySet{"+home.URL+"/jwks}" { // the good twin
		t.Errorf("a key set prints as %s", s)
	}
	keys.Close() // the verbs that never call String take no lock
	out := prints(keys)
	if strings.Contains(out, secret) {
		t.Error("a printed key set shows the query")
	}
}
