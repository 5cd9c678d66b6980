package token_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Two routes whose options were appended to one slice with room to spare share its
// memory: the second must not rewrite what the first demands.
func TestMiddlewareOptionsAreCopied(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	v := forge.RingVerifier(t, ring, token.EdDSA)
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	common := make([]token.VerifyOption, 0, 4)
	common = append(common, token.RequireFresh(time.Hour))
	admin := v.Middleware(ok, append(common, token.RequireScope("admin"))...)
	read := v.Middleware(ok, append(common, token.RequireScope("read"))...)

	q := forge.Request()
	q.Scope, q.AuthTime = []string{"read"}, time.Now()
	reader := forge.Issue(t, forge.NewIssuer(t, ring, nil), q).Raw()
	q.Scope = []string{"admin"}
	administrator := forge.Issue(t, forge.NewIssuer(t, ring, nil), q).Raw()
	for name, x := range map[string]struct {
		h    http.Handler
		raw  string
		want int
	}{
		"reader, read": {read, reader, http.StatusOK}, "administrator, admin": {admin, administrator, http.StatusOK},
		"reader, admin": {admin, reader, http.StatusForbidden}, "administrator, read": {read, administrator, http.StatusForbidden},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+x.raw)
		w := httptest.NewRecorder()
		x.h.ServeHTTP(w, r)
		if w.Code != x.want {
			t.Errorf("%s: status %d, want %d", name, w.Code, x.want)
		}
	}
}

// An option holds what it was made with, whatever becomes of the caller's slice.
func TestRequirementsAreCopied(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	v := forge.RingVerifier(t, ring, token.EdDSA)
	q := forge.Request()
	q.Scope, q.ACR = []string{"read"}, "low"
	raw := forge.Issue(t, forge.NewIssuer(t, ring, nil), q).Raw()
	for name, require := range map[string]func(...string) token.VerifyOption{"low": token.RequireACR, "read": token.RequireScope} {
		wanted := []string{"high"}
		o := require(wanted...)
		if _, err := v.Verify(t.Context(), raw, require(name)); err != nil {
			t.Errorf("the good twin %s: %v", name, err)
		}
		wanted[0] = name
		if _, err := v.Verify(t.Context(), raw, o); !errors.Is(err, token.ErrInsufficient) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The caches of several verifiers together may be more than an int counts.
func TestOneOfCacheBytesDoNotOverflow(t *testing.T) {
	a, b := forge.Ed(t, "a", forge.NewEd(t)), forge.Ed(t, "b", forge.NewEd(t))
	for _, n := range []int{1 << 20, math.MaxInt} {
		huge := func(c *token.VerifierConfig) { c.CacheBytes = n }
		v := one(t, verifierOf(t, "https://a.example.com", a, huge), verifierOf(t, "https://b.example.com", b, huge))
		raw := a.Forge(a.Header(), forge.Claims(time.Now()).With("iss", `"https://a.example.com"`))
		for range 2 {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("%d bytes each: %v", n, err)
			}
		}
	}
}
