package benchmarks_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/token"
)

// BenchmarkVerify compares what Verify does with a token of ten claims it has not
// seen before, its check against a fresh denylist included, with the bare check of
// the same signature (budget B1). -v shows differences and spreads.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		b.Run(string(alg), func(b *testing.B) {
			p := load.NewParty(alg)
			raws := p.Tokens(1024)
			signatures := p.Signatures(raws)
			v := p.Verifier(load.FreshList(), 0)
			ctx := b.Context()
			bare := func(i int) {
				if !p.Bare(&signatures[i%len(raws)]) {
					b.Fatal("bad signature")
				}
			}
			verify := func(i int) {
				if _, err := v.Verify(ctx, raws[i%len(raws)]); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			count := func(work func(int)) float64 {
				return testing.AllocsPerRun(500, func() { n++; work(n) })
			}
			bareAllocs, allocs := count(bare), count(verify)
			rounds(b, 16, contender{Name: "bare", Work: bare}, contender{Name: "Verify", Work: verify})
			b.ReportMetric(allocs-bareAllocs, "allocs-beyond")
		})
	}
}
