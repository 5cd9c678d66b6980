package revoke

import (
	"math"
	"testing"
	"time"
)

// The end of an entry is rounded up to whole seconds that fit its slot: it is never forgotten before
// the tokens concerned have expired (invariant 3).
func TestEndsAreRoundedUp(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint32
	}{
		{time.Unix(1_800_000_000, 0), 1_800_000_000},
		{time.Unix(1_800_000_000, 1), 1_800_000_001},
		{time.Unix(1_800_000_000, 999_999_999), 1_800_000_001},
		{time.Time{}, 1},
		{time.Unix(0, 0), 1},
		{time.Unix(-5, 5), 1},
		{time.Unix(math.MaxUint32, 0), math.MaxUint32},
		{time.Unix(math.MaxUint32-1, 1), math.MaxUint32},
		{time.Unix(math.MaxUint32, 1), math.MaxUint32},
		{time.Unix(1<<40, 0), math.MaxUint32},
	} {
		if got := ceilSeconds(c.at); got != c.want {
			t.Errorf("%s: %d, want %d", c.at.UTC(), got, c.want)
		}
	}
	// So is what a cutoff reaches, to milliseconds.
	e := newEntry(&gatheredIssuer{hasher: &hasher{1, 2}, issuer: "i"}, &Event{Issuer: "i", Kind: KindSubject, Value: "u", Before: time.UnixMilli(7).Add(1), Until: time.Unix(9, 1)})
	if e.before != 8 || e.until != 10 {
		t.Errorf("before %d, until %d", e.before, e.until)
	}
}
