package benchmarks_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

type contender = measure.Contender

// rounds lets the contenders take turns and reports medians. The first is what the
// others are compared with: by difference and by ratio, each of one round, with the
// quartiles of the ratio.
func rounds(b *testing.B, pieces int, all ...contender) {
	b.Helper()
	b.ResetTimer()
	times := measure.Rounds(max(64, b.N), pieces, all...)
	b.StopTimer()
	b.ReportMetric(0, "ns/op") // of a round it says nothing
	b.ReportMetric(times[0].Median(), all[0].Name+"-ns")
	for c := 1; c < len(all); c++ {
		beyond, ratio := times[c].Beyond(times[0]), times[c].Over(times[0])
		b.ReportMetric(times[c].Median(), all[c].Name+"-ns")
		b.ReportMetric(ratio.Median(), all[c].Name+"/"+all[0].Name)
		b.Logf("%s: %s %.0f ns, %s %.0f ns; beyond: %.0f ns [quartiles %.0f, %.0f]; ratio: %.3f [quartiles %.3f, %.3f]; %d rounds of %d",
			b.Name(), all[0].Name, times[0].Median(), all[c].Name, times[c].Median(),
			beyond.Median(), beyond.Quantile(.25), beyond.Quantile(.75), ratio.Median(), ratio.Quantile(.25), ratio.Quantile(.75), len(ratio), pieces)
	}
}
