package benchmarks_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// revoked adds n live revocations to list, of kinds token, session and subject as
// 100 : 10 : 1, and ten of each other kind.
func revoked(b testing.TB, list *revoke.List, n int) {
	now := revoke.Now()
	past := now.Time().Add(-time.Hour)
	apply := func(e revoke.Event) {
		e.Issuer = issuer
		if err := list.Apply(now, e); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		switch v := fmt.Sprintf("%032x", i); {
		case i%111 == 0:
			apply(revoke.Event{Kind: revoke.Subject, Value: v, Before: past})
		case i%11 == 0:
			apply(revoke.Event{Kind: revoke.Session, Value: v})
		default:
			apply(revoke.Event{Kind: revoke.Token, Value: v})
		}
	}
	for i := range 10 {
		apply(revoke.Event{Kind: revoke.Client, Value: fmt.Sprint("client", i), Before: past})
		apply(revoke.Event{Kind: revoke.Tenant, Value: fmt.Sprint("tenant", i), Before: past})
		apply(revoke.Event{Kind: revoke.Key, Value: fmt.Sprintf("%042dA", i)})
	}
	apply(revoke.Event{Kind: revoke.Issuer, Before: past})
}

// arriving applies a thousand times a second as many events as that makes, until the
// function it returns is called, which returns how many a second it got to.
func arriving(b testing.TB, list *revoke.List, perSecond int) (stop func() float64) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	start, n := time.Now(), 0
	wg.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			for due := int(time.Since(start).Seconds() * float64(perSecond)); n < due; n++ {
				e := revoke.Event{Issuer: issuer, Kind: revoke.Token, Value: fmt.Sprintf("new-%029x", n)}
				if err := list.Apply(revoke.Now(), e); err != nil {
					b.Error(err)
					return
				}
			}
		}
	})
	return func() float64 {
		close(done)
		wg.Wait()
		return float64(n) / time.Since(start).Seconds()
	}
}

// BenchmarkVerifyCached compares what Verify does with a token that it remembers, a
// million live revocations and freshness included, with a bare get of the same token
// from the cache library (budget B2): 10,000 tokens by Zipf's law, without and with
// 20,000 events a second.
func BenchmarkVerifyCached(b *testing.B) {
	const tokens, cacheBytes = 10_000, 64 << 20
	p := newParty(b, token.EdDSA)
	raws := p.tokens(b, tokens)
	list := freshList(b)
	revoked(b, list, 1_000_000)
	v := p.verifier(b, list, cacheBytes)
	bare := otter.Must(&otter.Options[string, *token.Claims]{
		MaximumWeight: cacheBytes, Weigher: func(raw string, _ *token.Claims) uint32 { return uint32(len(raw)) + 1200 },
	})
	asked := make([]string, tokens) // not the strings that are in the caches
	for i, raw := range raws {
		c, err := v.Verify(b.Context(), raw)
		bare.Set(strings.Clone(raw), must(b, c, err))
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
				stop = arriving(b, list, perSecond)
			}
			rounds(b, 1<<12, contender{"get", get}, contender{"Verify", verify})
			b.ReportMetric(stop(), "events/s")
			b.ReportMetric(allocs, "allocs")
		})
	}
}
