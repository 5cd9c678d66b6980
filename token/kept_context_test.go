package token_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A connection that goes on after its handler keeps the context of its request, and not the
// request: the headers of that are as large as the client likes, up to what the server takes.
func TestKeptContextKeepsNoRequest(t *testing.T) {
	s := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{s.Alg}, forge.StaticKeys(t, s)
	})
	raw := s.Forge(s.Header(), forge.Claims(time.Now()))
	var kept []context.Context
	h := v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		kept = append(kept, context.WithoutCancel(r.Context()))
	}))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const requests, header = 100, 256 << 10
	before := heap()
	for range requests {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		r.Header.Set("X-Large", strings.Repeat("x", header))
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Fatalf("status %d", w.Code)
		}
	}
	if each := (heap() - before) / requests; len(kept) != requests || each > header/4 {
		t.Errorf("%d contexts keep %d bytes each", len(kept), each)
	}
	runtime.KeepAlive(kept)
}
