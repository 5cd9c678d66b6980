package publish

import (
	"slices"
	"time"
)

// A Status is bus.Publishing, which says what its fields mean.
type Status struct {
	Acknowledged   uint64    // events
	Losses         uint64    // times the stream seemed to have lost acknowledged messages
	Contradicted   uint64    // acknowledgements that told of a loss which the stream itself did not know of: forged
	Republished    uint64    // events, after such a loss
	Pending        int       // events still to be republished
	Withheld       int       // of those, events that the server refuses each time, or ends the connection for; they are tried again every ten minutes
	Expired        uint64    // events that expired, by our clock and the server's, before they were acknowledged, or acknowledged again
	Forgotten      uint64    // events that a later loss would find no longer known here, alive though they were
	Checked        time.Time // when the stream was last found to hold what it had acknowledged; zero: never
	OutboxFailures uint64    // to open or write the outbox file; events published meanwhile would not survive a restart
	OutboxDamaged  uint64    // stretches of the outbox file that did not check out when it was opened
	OutboxSetAside string    // where that file is kept, as it was; empty: it was not damaged, or empty
	OutboxErr      error     // of the last attempt to open or write it; nil if that went well

	ClockAhead time.Duration

	Fill float64

	Unsafe []string // why nothing is published to the stream; see [ErrStreamUnsafe]
	Weak   []string // why an accident could lose what the stream holds: one replica, in memory …
}

// Status returns the present status.
func (p *Publisher) Status() Status {
	s, refused := p.ledger.status(p.now())
	s.ClockAhead = time.Duration(p.clock.ahead.Load())
	if o := p.outbox; o != nil {
		o := o.status()
		s.OutboxFailures, s.OutboxErr, s.OutboxDamaged, s.OutboxSetAside = o.failed, o.err, uint64(o.damaged), o.aside
	}
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Unsafe, s.Weak = slices.Clone(g.state.Unsafe), slices.Clone(g.state.Weak)
	if refused {
		s.Weak = append(s.Weak, "its messages may not be read back")
	}
	s.Fill = g.fill()
	return s
}
