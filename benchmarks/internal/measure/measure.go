// Package measure times ways to do the same work by turns, so that a busy neighbour
// slows them alike, and judges what it finds.
package measure

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Contender is one way to do the work.
type Contender struct {
	Name string
	Work func(i int) // the i-th piece; i grows by one
}

// Samples are nanoseconds a piece, one for each round.
type Samples []float64

// Rounds lets the contenders take turns, n rounds of pieces each, after one to warm up.
// A round should take some milliseconds: longer than what the processor needs to get used
// to a contender, and short beside what a neighbour takes.
func Rounds(n, pieces int, all ...Contender) []Samples {
	next := make([]int, len(all))
	run := func(c int) float64 {
		from, start := next[c], time.Now()
		for i := range pieces {
			all[c].Work(from + i)
		}
		next[c] += pieces
		return float64(time.Since(start)) / float64(pieces)
	}
	for c := range all {
		run(c)
	}
	times := make([]Samples, len(all))
	for round := range n {
		for k := range all {
			c := (k + round) % len(all) // nobody always comes first
			times[c] = append(times[c], run(c))
		}
	}
	return times
}

// Quantile returns the q-th quantile, 0 to 1, by the nearest rank; NaN of none.
func (s Samples) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[int(math.Round(q*float64(len(sorted)-1)))]
}

// Median returns the middle one.
func (s Samples) Median() float64 { return s.Quantile(.5) }

// Over returns the ratios to other, round by round.
func (s Samples) Over(other Samples) Samples {
	r := make(Samples, min(len(s), len(other)))
	for i := range r {
		r[i] = s[i] / other[i]
	}
	return r
}

// Beyond returns the differences to other, round by round.
func (s Samples) Beyond(other Samples) Samples {
	r := make(Samples, min(len(s), len(other)))
	for i := range r {
		r[i] = s[i] - other[i]
	}
	return r
}

// A Verdict on a budget.
type Verdict string

const (
	Met    Verdict = "met"
	Missed Verdict = "missed"
	Noisy  Verdict = "noisy" // the spread holds the budget: neither can be said
	Unmade Verdict = "not measured"
)

// leastRounds is how many a verdict takes.
const leastRounds = 8

// Judge compares samples with a budget that they must not exceed: met or missed if the
// quartiles are on one side of it.
func Judge(s Samples, budget float64) Verdict {
	switch {
	case len(s) == 0:
		return Unmade
	case len(s) < leastRounds:
		return Noisy
	case s.Quantile(.75) <= budget:
		return Met
	case s.Quantile(.25) > budget:
		return Missed
	}
	return Noisy
}

// JudgeLeast is Judge for a budget that must be reached.
func JudgeLeast(s Samples, budget float64) Verdict {
	negative := make(Samples, len(s))
	for i, x := range s {
		negative[i] = -x
	}
	return Judge(negative, -budget)
}

// JudgeExact compares what is counted and not timed.
func JudgeExact(value, budget float64) Verdict {
	switch {
	case math.IsNaN(value):
		return Unmade
	case value <= budget:
		return Met
	}
	return Missed
}

// Worst returns the worse of verdicts on parts of one budget.
func Worst(all ...Verdict) Verdict {
	for _, v := range []Verdict{Missed, Unmade, Noisy} {
		if slices.Contains(all, v) {
			return v
		}
	}
	return Met
}

// Nanos writes a time in nanoseconds for people.
func Nanos(ns float64) string {
	switch a := math.Abs(ns); {
	case math.IsNaN(ns):
		return "–"
	case a < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case a < 1e6:
		return fmt.Sprintf("%.2f µs", ns/1e3)
	case a < 1e9:
		return fmt.Sprintf("%.2f ms", ns/1e6)
	}
	return fmt.Sprintf("%.2f s", ns/1e9)
}
