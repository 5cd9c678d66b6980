package bus

import "slices"

// Stats tells what a Bus has published and what it knows of its stream.
type Stats struct {
	Acknowledged uint64   // events
	Losses       uint64   // times the stream was found to have lost acknowledged messages
	Republished  uint64   // events, after such a loss
	Pending      int      // events still to be republished
	Forgotten    uint64   // events that a later loss would find no longer known here, alive though they were
	Fill         float64  // share of the stream's MaxBytes in use, at the last reading
	Unsafe       []string // why nothing is published to the stream; see [ErrStreamUnsafe]
	Weak         []string // why an accident could lose what the stream holds: one replica, in memory …
}

// Stats returns a snapshot. A Bus that has not published knows nothing of its stream.
func (b *Bus) Stats() Stats {
	l, g := &b.publisher.ledger, &b.publisher.gauge
	l.mu.Lock()
	s := l.stats
	if l.recovering {
		for _, rec := range l.alive {
			if rec.era != l.current() {
				s.Pending++
			}
		}
	}
	l.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Unsafe, s.Weak = slices.Clone(g.state.unsafe), slices.Clone(g.state.weak)
	if g.state.maxBytes > 0 {
		s.Fill = float64(int64(g.state.bytes)+g.written) / float64(g.state.maxBytes)
	}
	return s
}
