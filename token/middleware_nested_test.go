package token_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Two Middlewares on one way, of whichever Verifiers of one service, take a good DPoP
// request, and use its proof once: a second request with it is a replay.
func TestNestedMiddlewareUsesAProofOnce(t *testing.T) {
	const issuerA, issuerB = "https://a.example.com", "https://b.example.com"
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.EC(t, "b")
	d, other, p := newDPoP(t, nil), newDPoP(t, nil), edProver(t)
	with := func(d *token.DPoP) func(*token.VerifierConfig) {
		return func(c *token.VerifierConfig) { c.DPoP = d }
	}
	verifierA, verifierB := verifierOf(t, issuerA, a, with(d)), verifierOf(t, issuerB, b, with(d))
	twin := verifierOf(t, issuerA, a, with(d))
	stranger := verifierOf(t, issuerA, a, with(other))
	all := one(t, verifierA, verifierB)
	type mw = func(http.Handler) http.Handler
	of := func(v *token.Verifier, opts ...token.VerifyOption) mw {
		return func(h http.Handler) http.Handler { return v.Middleware(h, opts...) }
	}
	for name, x := range map[string]struct {
		ways   []mw // from the outside in
		want   int
		replay int
	}{
		"one":                         {[]mw{of(verifierA)}, 200, 401},
		"a nil option":                {[]mw{of(verifierA, nil)}, 200, 401},
		"twice the same":              {[]mw{of(verifierA), of(verifierA, nil)}, 200, 401},
		"one of several inside all":   {[]mw{of(all), of(verifierA)}, 200, 401},
		"all inside one of several":   {[]mw{of(verifierA), of(all)}, 200, 401},
		"three deep":                  {[]mw{of(all), of(verifierA), of(all, nil), of(twin)}, 200, 401},
		"another of the same issuer":  {[]mw{of(verifierA), of(twin)}, 200, 401},
		"another issuer's inside all": {[]mw{of(all), of(verifierB)}, 401, 401},
		"with a DPoP of its own":      {[]mw{of(verifierA), of(stranger)}, 200, 401},
		"a scope that it lacks":       {[]mw{of(all), of(verifierA, token.RequireScope("no"))}, 403, 401},
		"a scope that it has, inside": {[]mw{of(all), of(verifierA, token.RequireScope("orders:read"))}, 200, 401},
		"inside one without any DPoP": {[]mw{of(verifierOf(t, issuerA, a, nil)), of(verifierA)}, 401, 401},
	} {
		var h http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		for i := len(x.ways) - 1; i >= 0; i-- {
			h = x.ways[i](h)
		}
		raw := a.Forge(a.Header(), forge.Claims(time.Now()).With("iss", strconv.Quote(issuerA)).With("cnf", `{"jkt":"`+p.jkt+`"}`))
		proof := p.prove(raw)
		send := func(proof string) int {
			r := httptest.NewRequest("GET", "/orders", nil)
			r.Header.Set("Authorization", "DPoP "+raw)
			r.Header.Set("DPoP", proof)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		if got := send(proof); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
		if got := send(proof); got != x.replay {
			t.Errorf("%s, the proof again: %d, want %d", name, got, x.replay)
		}
		if got := send(p.prove(raw)); got != x.want {
			t.Errorf("%s, a new proof: %d, want %d", name, got, x.want)
		}
	}
}

// A handler between two Middlewares that puts another proof into the request gains nothing.
func TestNestedMiddlewareChecksTheProofThatIsThere(t *testing.T) {
	a := forge.Ed(t, "a", forge.Keys().Ed)
	d, p := newDPoP(t, nil), edProver(t)
	with := func(c *token.VerifierConfig) { c.DPoP = d }
	outer, inner := verifierOf(t, "https://a.example.com", a, with), verifierOf(t, "https://a.example.com", a, with)
	raw := a.Forge(a.Header(), forge.Claims(time.Now()).With("iss", `"https://a.example.com"`).With("cnf", `{"jkt":"`+p.jkt+`"}`))
	used := p.prove(raw)
	r := httptest.NewRequest("GET", "/orders", nil)
	r.Header.Set("Authorization", "DPoP "+raw)
	r.Header.Set("DPoP", used)
	outer.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)

	h := outer.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("DPoP", used)
		inner.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	}))
	r = httptest.NewRequest("GET", "/orders", nil)
	r.Header.Set("Authorization", "DPoP "+raw)
	r.Header.Set("DPoP", p.prove(raw))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("a used proof in place of the request's: %d", w.Code)
	}
}
