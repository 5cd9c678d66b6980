package token

import (
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// What is remembered of unknown kids is bounded, and each rests twice as long as
// before.
func TestMisses(t *testing.T) {
	m := newMisses()
	now := revoke.Instant{Wall: 1e18, Mono: 1e18}
	const first, most = 10 * time.Second, 5 * time.Minute
	for i := range 100_000 {
		m.add(m.hash(strconv.Itoa(i), EdDSA), now, first, most)
	}
	if len(m.seen) != maxMisses {
		t.Errorf("%d misses are remembered, not %d", len(m.seen), maxMisses)
	}
	m = newMisses()
	w := m.hash("a", EdDSA)
	if w == m.hash("a", ES256) || w == m.hash("b", EdDSA) || w != m.hash("a", EdDSA) {
		t.Error("the hash is not one of kid and algorithm")
	}
	if m.rests(w, now) {
		t.Error("what was never asked for rests")
	}
	for i, rest := range []time.Duration{first, 2 * first, 4 * first, 8 * first, 16 * first, most, most} {
		m.add(w, now, first, most)
		m.add(w, now, first, most) // another waiter of the same fetch
		if !m.rests(w, now.Add(rest-1)) || m.rests(w, now.Add(rest)) || m.rests(m.hash("b", EdDSA), now) {
			t.Errorf("miss %d does not rest %s", i, rest)
		}
		now = now.Add(rest)
	}
	now = now.Add(3 * most)
	if m.add(w, now, first, most); m.rests(w, now.Add(first)) {
		t.Error("an old miss is not forgotten")
	}
}
