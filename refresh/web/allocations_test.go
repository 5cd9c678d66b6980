package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
)

// A request of a session allocates no more than three times beyond Verify, which of a
// remembered token does not: for its context, for the request that carries it, and for the
// header that keeps the page private.
func TestMiddlewareAllocations(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	passed := 0
	var seen *http.Request // what a handler is given is on the heap
	h := s.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		passed++
		seen = r
	}))
	r := a.request("GET", "/orders?a=b")
	r.Header.Set("Cookie", "theme=dark; "+r.Header.Get("Cookie")+"; lang=en")
	raw := a.cookie("session").Value
	w := httptest.NewRecorder()
	verify := testing.AllocsPerRun(1000, func() {
		if _, err := s.verifier.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
	})
	n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) })
	t.Logf("%v allocations, Verify %v", n, verify)
	if passed != 1001 || seen == nil {
		t.Fatalf("let in %d times", passed)
	}
	if _, ok := token.FromContext(seen.Context()); !ok {
		t.Fatal("no claims")
	}
	if n > verify+3 && !raceEnabled { // the race detector allocates, too
		t.Errorf("%v allocations, Verify %v", n, verify)
	}
}
