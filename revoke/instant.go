package revoke

import "time"

// An Instant is one reading of both of a machine's clocks. Freshness is judged
// by whichever of the two advanced further: the wall clock may be set back, and
// the monotonic clock stops while a laptop or a virtual machine sleeps.
//
// The zero Instant means "never". Instants of different processes do not compare.
type Instant struct {
	Wall int64 // nanoseconds since the Unix epoch
	Mono int64 // nanoseconds since a fixed point in this process
}

// monoBase is the fixed point of every Instant.Mono. One second is taken off so
// that no reading is zero.
var monoBase = time.Now().Add(-time.Second)

// Now reads both clocks.
func Now() Instant { return At(time.Now()) }

// At converts a time. If t holds no monotonic reading, the wall clock stands in
// for it, so an Instant made from a stored time compares with [Now] by wall time.
func At(t time.Time) Instant {
	return Instant{Wall: t.UnixNano(), Mono: int64(t.Sub(monoBase))}
}

// Time returns the wall-clock reading.
func (i Instant) Time() time.Time { return time.Unix(0, i.Wall) }

// IsZero reports whether i is the zero Instant.
func (i Instant) IsZero() bool { return i == Instant{} }

// Add returns i with both readings moved by d.
func (i Instant) Add(d time.Duration) Instant {
	return Instant{Wall: i.Wall + int64(d), Mono: i.Mono + int64(d)}
}

// Since returns the time from earlier to i by whichever clock advanced further.
// It is negative only if both clocks say that i comes first.
func (i Instant) Since(earlier Instant) time.Duration {
	return time.Duration(max(i.Wall-earlier.Wall, i.Mono-earlier.Mono))
}
