package measure_test

import (
	"math"
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

func TestQuantile(t *testing.T) {
	s := measure.Samples{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, .25: 2, .5: 3, .75: 4, 1: 5} {
		if got := s.Quantile(q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if s[0] != 5 {
		t.Error("the samples were sorted in place")
	}
	if !math.IsNaN(measure.Samples(nil).Median()) {
		t.Error("a median of nothing")
	}
}

func TestJudge(t *testing.T) {
	eight := func(low, high float64) measure.Samples {
		s := measure.Samples{low, low, low, low, high, high, high, high}
		return s
	}
	for _, c := range []struct {
		s             measure.Samples
		most, atLeast measure.Verdict // for a budget of 10
	}{
		{eight(8, 9), measure.Met, measure.Missed},
		{eight(11, 12), measure.Missed, measure.Met},
		{eight(9, 11), measure.Noisy, measure.Noisy},
		{eight(10, 10), measure.Met, measure.Met},
		{measure.Samples{1, 1, 1}, measure.Noisy, measure.Noisy},
		{nil, measure.Unmade, measure.Unmade},
	} {
		if got := measure.Judge(c.s, 10); got != c.most {
			t.Errorf("at most 10, %v: %s, want %s", c.s, got, c.most)
		}
		if got := measure.JudgeLeast(c.s, 10); got != c.atLeast {
			t.Errorf("at least 10, %v: %s, want %s", c.s, got, c.atLeast)
		}
	}
	if measure.JudgeExact(0, 0) != measure.Met || measure.JudgeExact(1, 0) != measure.Missed || measure.JudgeExact(math.NaN(), 1) != measure.Unmade {
		t.Error("exact figures are misjudged")
	}
	if measure.Worst(measure.Met, measure.Noisy, measure.Missed) != measure.Missed || measure.Worst(measure.Met, measure.Noisy) != measure.Noisy || measure.Worst(measure.Met) != measure.Met {
		t.Error("the worst is not the worst")
	}
}

func TestRounds(t *testing.T) {
	var order []string
	work := func(name string) func(int) {
		next := 0
		return func(i int) {
			if i != next {
				t.Errorf("%s: piece %d, want %d", name, i, next)
			}
			next++
			order = append(order, name)
		}
	}
	times := measure.Rounds(4, 2, measure.Contender{Name: "a", Work: work("a")}, measure.Contender{Name: "b", Work: work("b")})
	if len(times) != 2 || len(times[0]) != 4 || len(times[1]) != 4 {
		t.Fatalf("%v", times)
	}
	// Warm, then by turns, and who begins changes.
	want := "a a b b  a a b b  b b a a  a a b b  b b a a"
	got := ""
	for i, name := range order {
		if i > 0 {
			got += " "
			if i%4 == 0 {
				got += " "
			}
		}
		got += name
	}
	if got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if r := (measure.Samples{4, 9}).Over(measure.Samples{2, 3}); r[0] != 2 || r[1] != 3 {
		t.Errorf("ratios %v", r)
	}
	if r := (measure.Samples{4, 9}).Beyond(measure.Samples{2, 3}); r[0] != 2 || r[1] != 6 {
		t.Errorf("differences %v", r)
	}
}
