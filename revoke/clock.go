package revoke

import "time"

// A clockReading is what heartbeats have told of this process's wall clock. It is
// immutable.
type clockReading struct {
	// The monotonic clock less the log server's, in nanoseconds: not less than low and not
	// more than high, because the server stored an own heartbeat between its sending and its
	// delivery.
	low, high int64
	read      bool

	// How far the wall clock was ahead of the monotonic one when another member's
	// heartbeat agreed with it.
	agreed int64
	agrees bool
}

// ClockOff returns by how much, at least, this process's wall clock is ahead of the log
// server's, or behind it if it is negative. It is zero while they differ by no more than
// MaxSkew or nothing is known, and while the clocks of other members agree with this one:
// then the server's is wrong. Heartbeats tell, so that a change shows within seconds.
//
// A process whose clock is off must not judge by it when a session or a token ends.
func (l *List) ClockOff(now Instant) time.Duration {
	c := l.clock.Load()
	if c == nil {
		return 0
	}
	wall := now.Wall - now.Mono
	skew := int64(l.cfg.MaxSkew)
	if c.agrees && wall-c.agreed <= skew && c.agreed-wall <= skew { // it was not set since
		return 0
	}
	switch {
	case !c.read:
	case wall+c.low > skew:
		return time.Duration(wall + c.low)
	case wall+c.high < -skew:
		return time.Duration(wall + c.high)
	}
	return 0
}

// clockRead takes note of an own heartbeat. Only the feed's goroutine writes.
func (l *List) clockRead(sent, received Instant, stored time.Time) {
	c := clockReading{}
	if old := l.clock.Load(); old != nil {
		c = *old
	}
	c.low, c.high, c.read = sent.Mono-stored.UnixNano(), received.Mono-stored.UnixNano(), true
	l.clock.Store(&c)
}

// clockAgrees takes note of another member's heartbeat whose time fits this clock.
func (l *List) clockAgrees(now Instant) {
	c := clockReading{}
	if old := l.clock.Load(); old != nil {
		if c = *old; c.agrees && c.agreed == now.Wall-now.Mono {
			return
		}
	}
	c.agreed, c.agrees = now.Wall-now.Mono, true
	l.clock.Store(&c)
}
