package load

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// rememberedTokens is how many there are, and Fullness how full the caches are that hold them,
// Verify's and the bare one alike: one that is not half full spares itself what keeps it in order.
const (
	rememberedTokens = 10_000
	Fullness         = .97
)

// Remembered are tokens that come again and again, by Zipf's law (1.1), in caches that have room
// for just about all of them.
type Remembered struct {
	Party Party
	List  *revoke.List

	weight int      // of a token in a Verifier's cache, in bytes
	asked  []string // not the strings that are in the caches
	order  []uint16
}

// NewRemembered makes them, and a denylist with so many live revocations.
func NewRemembered(live int) *Remembered {
	m := &Remembered{Party: NewParty(token.EdDSA), List: FreshList()}
	Revoke(m.List, live)
	m.asked = m.Party.Tokens(rememberedTokens)
	zipf := mathrand.NewZipf(mathrand.New(mathrand.NewPCG(1, 2)), 1.1, 1, rememberedTokens-1)
	m.order = make([]uint16, 1<<16)
	for i := range m.order {
		m.order[i] = uint16(zipf.Uint64())
	}
	m.weigh()
	return m
}

// weigh finds out how much a token weighs: the least room that many of them fit into is theirs.
func (m *Remembered) weigh() {
	const probed = 500
	least, enough := 500, 4000
	for enough-least > 4 {
		if w := (least + enough) / 2; m.fits(probed, probed*w) {
			enough = w
		} else {
			least = w
		}
	}
	m.weight = enough
	for range 4 { // the few may have gone more slowly than they were looked for
		if m.fits(len(m.asked), m.room()) {
			break
		}
		m.weight += m.weight / 200
	}
	if room := m.room(); !m.fits(len(m.asked), room) || m.fits(len(m.asked), room*95/100) {
		panic(fmt.Errorf("setting up: %d tokens do not fill between 95 and 100 %% of %d bytes", len(m.asked), room))
	}
}

// room is the size of a Verifier's cache.
func (m *Remembered) room() int { return int(float64(len(m.asked)*m.weight) / Fullness) }

// fits reports whether so many tokens are remembered in so many bytes.
func (m *Remembered) fits(tokens, bytes int) bool {
	v, all := m.Party.Verifier(m.List, bytes), make([]*token.Claims, tokens)
	for i := range all {
		all[i] = Must(v.Verify(context.Background(), m.asked[i]))
	}
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; { // what does not fit goes by and by
		for i := range all {
			if Must(v.Verify(context.Background(), m.asked[i])) != all[i] {
				return false
			}
		}
		runtime.Gosched()
	}
	return true
}

func (m *Remembered) at(i int) int { return int(m.order[i%len(m.order)]) }

// Get is a bare get of the token from the cache library, to compare with. It fails with a panic, as
// the others do.
func (m *Remembered) Get() func(i int) {
	weight := func(raw string) uint32 { return uint32(len(raw)) + 1200 }
	total := 0
	for _, raw := range m.asked {
		total += int(weight(raw))
	}
	bare := otter.Must(&otter.Options[string, *token.Claims]{
		MaximumWeight: uint64(float64(total) / Fullness), Weigher: func(raw string, _ *token.Claims) uint32 { return weight(raw) },
	})
	v := m.Party.Verifier(m.List, 0)
	for _, raw := range m.asked {
		bare.Set(strings.Clone(raw), Must(v.Verify(context.Background(), raw)))
	}
	return func(i int) {
		if _, ok := bare.GetIfPresent(m.asked[m.at(i)]); !ok {
			panic(errors.New("get: gone"))
		}
	}
}

// Remembering returns a Verifier that remembers the tokens.
func (m *Remembered) Remembering(keys token.KeySet) *token.Verifier {
	v := m.Party.VerifierBy(keys, m.List, m.room())
	for range 2 {
		for _, raw := range m.asked {
			Must(v.Verify(context.Background(), strings.Clone(raw)))
		}
	}
	return v
}

// Verify is what v, which remembers the tokens, does with one.
func (m *Remembered) Verify(v *token.Verifier, opts ...token.VerifyOption) func(i int) {
	ctx := context.Background()
	return func(i int) {
		if _, err := v.Verify(ctx, m.asked[m.at(i)], opts...); err != nil {
			panic(fmt.Errorf("Verify: %w", err))
		}
	}
}

// Middleware is what v does with a request, from the moment that net/http hands it over until a
// handler has its claims.
func (m *Remembered) Middleware(v *token.Verifier, opts ...token.VerifyOption) func(i int) {
	served, w := 0, httptest.NewRecorder()
	h := v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := token.FromContext(r.Context()); ok {
			served++
		}
	}), opts...)
	// As http.Server makes it.
	ctx := context.WithValue(context.Background(), http.ServerContextKey, new(http.Server))
	ctx = context.WithValue(ctx, http.LocalAddrContextKey, new(net.TCPAddr))
	ctx, cancel := context.WithCancel(ctx)
	runtime.AddCleanup(m, func(cancel context.CancelFunc) { cancel() }, cancel) // not before: requests are served again and again
	requests := make([]*http.Request, len(m.asked))
	for i, raw := range m.asked {
		requests[i] = httptest.NewRequest("GET", "https://orders.example.com/orders/1", nil).WithContext(ctx)
		requests[i].Header.Set("Authorization", "Bearer "+raw)
		requests[i].Header.Set("Accept", "application/json")
		requests[i].Header.Set("User-Agent", "client/1")
	}
	return func(i int) {
		before := served
		if h.ServeHTTP(w, requests[m.at(i)]); served == before {
			panic(fmt.Errorf("Middleware: answers %d", w.Code))
		}
	}
}
