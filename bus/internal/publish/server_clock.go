package publish

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A serverClock is what time the server last said that it is, carried on by the clock
// that nobody sets.
type serverClock struct {
	offset atomic.Int64 // to an Instant's Mono; 0: it has not said
	ahead  atomic.Int64 // nanoseconds that our clock was before it then
}

// tolerance is how far our clock and the server's may differ before it is logged.
const tolerance = 10 * time.Second

// set takes note of what the server said, and reports whether the clocks have begun to
// agree or ceased to, tolerably.
func (c *serverClock) set(server time.Time, now revoke.Instant) (changed bool) {
	if server.IsZero() { // it does not say: our clock alone decides
		c.offset.Store(math.MaxInt64)
		return false
	}
	c.offset.Store(server.UnixNano() - now.Mono)
	ahead := now.Time().Sub(server)
	old := time.Duration(c.ahead.Swap(int64(ahead)))
	return (old.Abs() > tolerance) != (ahead.Abs() > tolerance)
}

// now is the time by which an event must have expired to be given up: by our clock and
// by the server's both, as with replicas (invariant 3). A machine that wakes up in the wrong
// year would else throw away what it was to publish, and have the stream do so. Before
// the server has said what time it is nothing has expired; now is then zero.
func (p *Publisher) now() time.Time {
	local := time.Now()
	switch offset := p.clock.offset.Load(); offset {
	case 0:
		return time.Time{}
	case math.MaxInt64:
	default:
		if server := time.Unix(0, revoke.At(local).Mono+offset); server.Before(local) {
			return server
		}
	}
	return local
}
