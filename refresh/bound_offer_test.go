package refresh

import "testing"

// A session may be about to be bound until its offer is too old by every clock and by the oldest
// answer of a store: as long as its record is written where a retry is answered from it.
func TestOfferingAtItsLimit(t *testing.T) {
	const skew, now = 2_000, 1_000_000
	var s session
	if s.offering(now, skew) {
		t.Error("what offers nothing may be bound")
	}
	s.offer(&offered{}, now)
	last := int64(now + 5*60_000 + skew + 30_000)
	for at, want := range map[int64]bool{now: true, last - 1: true, last: true, last + 1: false} {
		if got := s.offering(at, skew); got != want {
			t.Errorf("%d ms after the last moment it may be bound: %t", at-last, got)
		}
	}
}
