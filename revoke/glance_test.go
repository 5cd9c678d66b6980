package revoke

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// Whatever was added is found, of any length; of few, little else is.
func TestGlances(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	value := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	var g glances
	var added []string
	for n := range 100 {
		v := value(n)
		g.add(v)
		added = append(added, v)
		for _, v := range added {
			if !g.mayHave(v) || !g.mayHave(strings.Clone(v)) {
				t.Fatalf("%q was added and is not found", v)
			}
		}
	}
	found := 0
	const probes = 10_000
	for range probes {
		if g.mayHave(value(8 + rng.IntN(40))) {
			found++
		}
	}
	if found > probes/50 { // 100 of 16,384 bits are set
		t.Errorf("%d of %d values that were not added", found, probes)
	}
	g.addAll()
	for range probes {
		if v := value(rng.IntN(40)); !g.mayHave(v) {
			t.Fatalf("%q is not found among all", v)
		}
	}
}
