package benchmarks_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A contender is one way to do the same work.
type contender struct {
	name string
	work func(i int) // the i-th piece; i grows by one
}

// rounds lets the contenders take turns, a round of pieces each, so that a busy
// neighbour slows them alike, and reports medians. The first is what the others are
// compared with: by difference and by ratio, each of one round, with the quartiles of
// the ratio. pieces is such that a round takes a millisecond or so: short beside what a neighbour takes.
func rounds(b *testing.B, pieces int, all ...contender) {
	b.Helper()
	const least = 64
	n := make([]int, len(all))
	times := make([][]float64, len(all)) // ns a piece, by contender and round
	run := func(c int) float64 {
		from, start := n[c], time.Now()
		for i := range pieces {
			all[c].work(from + i)
		}
		n[c] += pieces
		return float64(time.Since(start)) / float64(pieces)
	}
	for c := range all {
		run(c) // warm
	}
	b.ResetTimer()
	for round := 0; round < least || round < b.N; round++ {
		for k := range all {
			c := (k + round) % len(all) // nobody always comes first
			times[c] = append(times[c], run(c))
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op") // of a round it says nothing
	b.ReportMetric(quantile(times[0], .5), all[0].name+"-ns")
	for c := 1; c < len(all); c++ {
		var beyond, ratio []float64
		for r, t := range times[c] {
			beyond, ratio = append(beyond, t-times[0][r]), append(ratio, t/times[0][r])
		}
		b.ReportMetric(quantile(times[c], .5), all[c].name+"-ns")
		b.ReportMetric(quantile(ratio, .5), all[c].name+"/"+all[0].name)
		b.Logf("%s: %s %.0f ns, %s %.0f ns; beyond: %.0f ns [quartiles %.0f, %.0f]; ratio: %.3f [quartiles %.3f, %.3f]; %d rounds of %d",
			b.Name(), all[0].name, quantile(times[0], .5), all[c].name, quantile(times[c], .5),
			quantile(beyond, .5), quantile(beyond, .25), quantile(beyond, .75),
			quantile(ratio, .5), quantile(ratio, .25), quantile(ratio, .75), len(ratio), pieces)
	}
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1)+.5)]
}

func must[T any](b testing.TB, v T, err error) T {
	b.Helper()
	if err != nil {
		b.Fatal(fmt.Errorf("setting up: %w", err))
	}
	return v
}
