package revoke

import (
	"math"
	"testing"
)

// The bytes an entry takes are those that Config.FalsePositiveRate tells.
func TestDensity(t *testing.T) {
	for rate, want := range map[float64]float64{1e-3: 2, 1e-4: 3, 1e-6: 7, 1e-9: 24} {
		const n = 100_000
		f := newFilter(n, newDensity(rate))
		if got := math.Round(float64(8*len(f.words)) / n); got != want {
			t.Errorf("at %g: %v bytes an entry, the documentation says %v", rate, got, want)
		}
	}
}
