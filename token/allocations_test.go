package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// bareAllocations are those of the standard library for one check of a signature.
func bareAllocations(t *testing.T, alg token.Algorithm) float64 {
	t.Helper()
	digest := sha256.Sum256([]byte("message"))
	var check func() bool
	switch alg {
	case token.ES256:
		private := forge.Keys().Ec
		signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		check = func() bool { return ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature) }
	case token.RS256:
		private := forge.Keys().Rsa
		signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		check = func() bool { return rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, digest[:], signature) == nil }
	}
	return testing.AllocsPerRun(100, func() {
		if !check() {
			t.Fatal("bad signature")
		}
	})
}

// Verify allocates nothing for a remembered token, and little for a new one.
func TestVerifyAllocations(t *testing.T) {
	list := forge.LocalList(t, revoke.Config{})
	now := time.Now()
	for _, x := range []struct {
		forge.Signer
		most float64 // of an unknown token; crypto/ecdsa and crypto/rsa take theirs
	}{{forge.Ed(t, "ed", forge.Keys().Ed), 4}, {forge.EC(t, "ec"), 4 + bareAllocations(t, token.ES256)}, {forge.RS(t, "rs"), 4 + bareAllocations(t, token.RS256)}} {
		s := x.Signer
		raws := make([]string, 64)
		for i := range raws {
			raws[i] = s.Forge(s.Header(), forge.Claims(now).With("jti", strconv.Quote(fmt.Sprint("jti-", i))).
				With("scope", `"read write"`).With("acr", `"gold"`).With("auth_time", strconv.FormatInt(now.Unix(), 10)))
		}
		for _, cached := range []bool{false, true} {
			v := forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.NoCache = []token.Algorithm{s.Alg}, forge.StaticKeys(t, s), !cached
				c.Revocations, c.InsecureNoRevocations = list, false
			})
			most := x.most
			if cached {
				most = 0
				for _, raw := range raws {
					remembered(t, v, raw)
				}
			}
			scope, whole := token.RequireScope("read"), token.RequireACR("gold")
			for name, opts := range map[string][]token.VerifyOption{
				"without an option": nil, "with one": {scope}, "with nil": {nil}, "with two": {scope, whole},
				"with all": {token.RequireFresh(time.Hour), nil, scope, whole, token.WithStalePolicy(revoke.AllowYounger(time.Minute)), token.WithSender(token.Sender{}), token.WithGrace(time.Second)},
			} {
				i := 0
				ctx := t.Context()
				n := testing.AllocsPerRun(500, func() {
					i++
					if _, err := v.Verify(ctx, raws[i%len(raws)], opts...); err != nil {
						t.Fatal(err)
					}
				})
				if n > most && (cached || !raceEnabled) { // under the race detector sync.Pool forgets
					t.Errorf("%s, remembered %t, %s: %v allocations, want at most %v", s.Alg, cached, name, n, most)
				}
			}
		}
	}
}

// A request that waits for nothing pays nothing for the watch of its token: Middleware
// allocates two times, as any middleware does that hands the claims on in a context: the context
// and the copy of the request that carries it. Options change nothing.
func TestMiddlewareAllocations(t *testing.T) {
	list := forge.LocalList(t, revoke.Config{})
	s := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{s.Alg}, forge.StaticKeys(t, s)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	raw := s.Forge(s.Header(), forge.Claims(time.Now()).With("jti", `"one"`).With("scope", `"read"`).With("acr", `"gold"`))
	remembered(t, v, raw)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	var seen *http.Request // what a handler is given is on the heap
	var found *token.Claims
	idle := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r
		found, _ = token.FromContext(r.Context())
	})
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // nobody writes less
		_, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		claims, err := v.Verify(r.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		idle.ServeHTTP(w, r.WithContext(token.NewContext(r.Context(), claims)))
	})
	measure := func(h http.Handler) (count, bytes float64) {
		w := httptest.NewRecorder()
		const runs = 2000
		count = testing.AllocsPerRun(runs, func() { h.ServeHTTP(w, r) })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			h.ServeHTTP(w, r)
		}
		runtime.ReadMemStats(&after)
		if w.Code != http.StatusOK {
			t.Fatalf("answered %d", w.Code)
		}
		return count, float64(after.TotalAlloc-before.TotalAlloc) / runs
	}
	count, bytes := measure(bare)
	var gotCount float64
	for name, opts := range map[string][]token.VerifyOption{"without options": nil, "with one": {token.RequireScope("read")}, "with two": {token.RequireScope("read"), token.RequireACR("gold")}} {
		var gotBytes float64
		found = nil
		gotCount, gotBytes = measure(v.Middleware(idle, opts...))
		t.Logf("%s: %v allocations of %.0f bytes; by hand %v of %.0f", name, gotCount, gotBytes, count, bytes)
		if found == nil {
			t.Errorf("%s: the handler does not find the claims", name)
		}
		if !raceEnabled && (gotCount > 2 || gotBytes > bytes+160) { // the race detector allocates, too
			t.Errorf("%s: %v allocations of %.0f bytes; by hand %v of %.0f", name, gotCount, gotBytes, count, bytes)
		}
	}
	asked, askedBytes := measure(v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.Context().Done() })))
	t.Logf("%v allocations of %.0f bytes when Done is called", asked, askedBytes)
	if seen == nil || asked <= gotCount+3 {
		t.Errorf("%v allocations when Done is called, and %v when not: the test would not notice a watch", asked, gotCount)
	}
}
