package main

import (
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// An instant is a reading, in nanoseconds, of the clock that all processes of the
// run share. Zero means never.
type instant int64

func (i instant) sub(j instant) time.Duration { return time.Duration(i - j) }

// A clock turns this process's readings into instants.
type clock struct {
	base revoke.Instant
	at   instant
}

// newClock pairs the two clocks' readings: of several attempts that with the least
// time around it, a microsecond at most where nobody interrupts all of them. The
// shared reading comes first, hence errs to the early side by that much, for every
// reading of the process alike; see apart.
func newClock() clock {
	var c clock
	best := time.Hour
	for range 64 {
		before := time.Now()
		at := bootClock()
		now := time.Now()
		if d := now.Sub(before); d < best {
			best, c = d, clock{base: revoke.At(before), at: instant(at)}
		}
	}
	return c
}

// apart is how far two processes' readings of one moment may differ.
const apart = 20 * time.Microsecond

func (c clock) of(i revoke.Instant) instant {
	if i.IsZero() {
		return 0
	}
	return c.at + instant(i.Mono-c.base.Mono)
}

func (c clock) now() instant { return c.of(revoke.Now()) }
