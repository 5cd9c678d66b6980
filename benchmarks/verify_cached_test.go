package benchmarks_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// BenchmarkVerifyCached compares what Verify does with a token that it remembers, a
// million live revocations and freshness included, with a bare get of the same token
// from the cache library (budget B2): 10,000 tokens by Zipf's law, without and with
// 20,000 events a second.
func BenchmarkVerifyCached(b *testing.B) {
	const tokens, cacheBytes = 10_000, 64 << 20
	p := load.NewParty(token.EdDSA)
	raws := p.Tokens(tokens)
	list := load.FreshList()
	load.Revoke(list, 1_000_000)
	v := p.Verifier(list, cacheBytes)
	bare := otter.Must(&otter.Options[string, *token.Claims]{
		MaximumWeight: cacheBytes, Weigher: func(raw string, _ *token.Claims) uint32 { return uint32(len(raw)) + 1200 },
	})
	asked := make([]string, tokens) // not the strings that are in the caches
	for i, raw := range raws {
		bare.Set(strings.Clone(raw), load.Must(v.Verify(b.Context(), raw)))
		asked[i] = strings.Clone(raw)
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, tokens-1)
	order := make([]uint16, 1<<16)
	for i := range order {
		order[i] = uint16(zipf.Uint64())
	}
	ctx := b.Context()
	get := func(i int) {
		if _, ok := bare.GetIfPresent(asked[order[i%len(order)]]); !ok {
			b.Fatal("gone")
		}
	}
	verify := func(i int) {
		if _, err := v.Verify(ctx, asked[order[i%len(order)]]); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	allocs := testing.AllocsPerRun(20_000, func() { n++; verify(n) })
	for _, perSecond := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("events=%d", perSecond), func(b *testing.B) {
			stop := func() float64 { return 0 }
			if perSecond > 0 {
				stop = load.Arriving(perSecond, func(value string) {
					if err := list.Apply(revoke.Now(), revoke.Event{Issuer: load.Issuer, Kind: revoke.KindToken, Value: value}); err != nil {
						b.Error(err)
					}
				})
			}
			rounds(b, 1<<12, contender{Name: "get", Work: get}, contender{Name: "Verify", Work: verify})
			b.ReportMetric(stop(), "events/s")
			b.ReportMetric(allocs, "allocs")
		})
	}
}
