package benchmarks_test

import (
	"fmt"
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// BenchmarkVerifyCached compares what Verify does with a token that it remembers, a
// million live revocations and freshness included, with a bare get of the same token
// from the cache library (budget B2): 10,000 tokens by Zipf's law, in caches that are nearly
// full, with keys of the process's own and with those of another's, without an option and with one,
// without and with 20,000 events a second. The whole Middleware is beside it (B13).
func BenchmarkVerifyCached(b *testing.B) {
	m := load.NewRemembered(1_000_000)
	remote := m.Party.RemoteKeys()
	defer remote.Close()
	own := func() *token.Verifier { return m.Remembering(m.Party.Ring) } // each its own, or one would warm the other's memory
	get, verify := contender{Name: "get", Work: m.Get()}, contender{Name: "Verify", Work: m.Verify(own())}
	others := []contender{
		{Name: "remote", Work: m.Verify(m.Remembering(remote))},
		{Name: "option", Work: m.Verify(own(), token.RequireScope("orders.read"))},
		{Name: "Middleware", Work: m.Middleware(own())},
	}
	allocations := map[string]float64{}
	for _, c := range append(others, verify) {
		n := 0
		allocations[c.Name] = testing.AllocsPerRun(20_000, func() { n++; c.Work(n) })
	}
	for _, perSecond := range []int{0, 20_000} {
		b.Run(fmt.Sprintf("events=%d", perSecond), func(b *testing.B) {
			stop, all := func() float64 { return 0 }, append([]contender{get, verify}, others...)
			if perSecond > 0 {
				all = all[:2]
				stop = load.Arriving(perSecond, func(value string) {
					if err := m.List.Apply(revoke.Now(), revoke.Event{Issuer: load.Issuer, Kind: revoke.KindToken, Value: value}); err != nil {
						b.Error(err)
					}
				})
			}
			rounds(b, 1<<12, all...)
			b.ReportMetric(stop(), "events/s")
			if perSecond == 0 {
				for name, n := range allocations {
					b.ReportMetric(n, name+"-allocs")
				}
			}
		})
	}
}

// BenchmarkCores compares Verify of a remembered token in one goroutine with Verify in 1, 2, 4 and
// 8 a core, so much work for each core: one would be twice as many cores, twice as much
// done. Bare gets beside it tell what of that is the machine's.
func BenchmarkCores(b *testing.B) {
	m := load.NewRemembered(100_000)
	for name, work := range map[string]func(int){"get": m.Get(), "Verify": m.Verify(m.Remembering(m.Party.Ring))} {
		b.Run(name, func(b *testing.B) { rounds(b, 1, load.Cores(1<<12, work)...) })
	}
}
