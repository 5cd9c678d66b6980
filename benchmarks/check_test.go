package benchmarks_test

import (
	"testing"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	entries = 100_000 // of kinds token, session and subject, 100 : 10 : 1
	asked   = 1 << 14 // distinct tokens
)

// BenchmarkCheck compares one check of a token, with all seven kinds live and freshness
// judged, with as many bare look-ups in a Bloom filter as a check has keys. The filter is
// sized for the same entries and rate (budget B3).
func BenchmarkCheck(b *testing.B) {
	list := load.FreshList()
	list.ExpectIssuer(load.Issuer) // as a verifier does
	load.Revoke(list, entries)
	filter := bloom.NewWithEstimates(entries, 1e-4)
	load.Events(entries, func(e revoke.Event) { filter.AddString(e.Value) })
	all := load.Ask(asked, entries)
	b.Run("List.Check", func(b *testing.B) {
		b.ReportAllocs()
		revoked := 0
		for i := 0; b.Loop(); i++ {
			if list.Check(revoke.Now(), &all[i%asked].Identity, revoke.Deny()) != nil {
				revoked++
			}
		}
		if b.N > asked && revoked == 0 {
			b.Fatal("nothing is revoked")
		}
	})
	b.Run("bloom.Test×7", func(b *testing.B) {
		b.ReportAllocs()
		hits := 0
		for i := 0; b.Loop(); i++ {
			for _, k := range all[i%asked].Keys {
				if filter.TestString(k) {
					hits++
				}
			}
		}
	})
}
