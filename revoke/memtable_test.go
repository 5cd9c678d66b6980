package revoke

import (
	"math/rand/v2"
	"testing"
)

// Before a full memtable's slots its marks turn away all but about one in fifty of the keys that it
// does not hold, and none that it holds.
func TestMarksTurnStrangersAway(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	key := func() digest { return digest{rng.Uint64() | 1, rng.Uint64() & idLow} }
	r := newMemtable(1 << 12)
	var held []digest
	for !r.full() {
		id := key()
		held = append(held, id)
		r.put(entry{id: id, kind: KindToken, before: forever, until: 1})
	}
	marked := func(id digest) bool {
		word, mask := r.mark(id)
		return word.Load()&mask == mask
	}
	for _, id := range held {
		if !marked(id) {
			t.Fatal("a key that is held is turned away")
		}
	}
	const strangers = 200_000
	passed := 0
	for range strangers {
		if marked(key()) {
			passed++
		}
	}
	if share := float64(passed) / strangers; share < 0.005 || share > 0.03 {
		t.Errorf("%.2f %% pass, the documentation says about 2 %%", 100*share)
	}
}
