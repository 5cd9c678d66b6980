package publish

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	// fillInterval is how old the reading of the stream's state may be.
	fillInterval = 30 * time.Second
	// refusalInterval is how old it may be to refuse an event because of it.
	refusalInterval = time.Second
	// settingsAge is how old the reading of the stream's settings may be, when an
	// acknowledgement comes, for that to count; see vouch.
	settingsAge = 2 * time.Second
)

// A gauge knows the stream's settings and how full it is: the newest reading, and
// what was written since.
type gauge struct {
	mu       sync.Mutex
	state    stream.State
	known    bool      // state was read once
	at       time.Time // when; zero: it is to be read again
	era      uint64    // in which that reading was begun; it says nothing of another
	began    time.Time // when the newest reading that was answered was begun
	err      error     // of the last reading
	failedAt time.Time
	reading  chan struct{} // closed when the reading under way ends; nil if none is
	noRoom   room          // what the server has said of room since it last took an event
	written  int64         // bytes acknowledged, or perhaps stored, since the reading began
	inFlight int64         // bytes sent and not acknowledged
}

// isKnown reports whether the stream was ever seen.
func (g *gauge) isKnown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known
}

// unanswered returns why the last reading brought no answer, nil if it did: facts makes do
// without, and who draws a conclusion must not.
func (g *gauge) unanswered() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// facts returns the stream's state, at most maxAge old and less than 1 % of
// MaxBytes of our own writing behind. While the server does not answer it makes do
// with an older one. Calls share one reading, which does not end with any of them.
func (p *Publisher) facts(ctx context.Context, maxAge time.Duration) (stream.State, error) {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known && time.Since(g.at) < maxAge && p.isOfNow(g.era) && g.written < g.state.MaxBytes/100 {
		return g.state, nil
	}
	if g.known && g.err != nil && time.Since(g.failedAt) < refusalInterval { // not again at once
		return g.usable()
	}
	for {
		reading, err := p.startReading()
		if err != nil {
			return stream.State{}, err
		}
		g.mu.Unlock()
		select {
		case <-reading:
		case <-ctx.Done():
			g.mu.Lock()
			return stream.State{}, context.Cause(ctx)
		}
		g.mu.Lock()
		if g.err != nil || !g.at.IsZero() && p.isOfNow(g.era) { // else it is about the time before a loss: again
			return g.usable()
		}
	}
}

// startReading begins a reading unless one is under way, and returns what is closed when
// it ends. The caller holds the gauge's mu.
func (p *Publisher) startReading() (<-chan struct{}, error) {
	g := &p.gauge
	if g.reading == nil {
		leave, err := p.t.Enter()
		if err != nil {
			return nil, err
		}
		reading := make(chan struct{})
		g.reading = reading
		go func() {
			defer leave()
			p.read(p.t.Context)
			close(reading)
		}()
	}
	return g.reading, nil
}

// usable returns the newest state. A stream known to be gone is an error; one that
// could not be asked about is taken to be as it was.
func (g *gauge) usable() (stream.State, error) {
	if g.err != nil && (!g.known || errors.Is(g.err, transport.ErrNoStream)) {
		return stream.State{}, g.err
	}
	return g.state, nil
}

// read asks the server and takes the answer in. Only startReading calls it: one at a time.
func (p *Publisher) read(ctx context.Context) {
	g := &p.gauge
	g.mu.Lock()
	before := g.written
	g.mu.Unlock()
	highest, era := p.ledger.begin()
	began := time.Now()
	st, err := p.t.ReadStream(ctx)
	p.took(ctx, st, err, before, highest, era)
	if err == nil {
		g.mu.Lock()
		g.began = began
		g.mu.Unlock()
	}
}

// took takes in what the server said when it was asked with before bytes written, and
// those two of [ledger.begin].
func (p *Publisher) took(ctx context.Context, st stream.State, err error, before int64, highest, era uint64) {
	g := &p.gauge
	if err == nil && p.clock.set(st.Now, revoke.Now()) {
		ahead := time.Duration(p.clock.ahead.Load())
		level := slog.LevelWarn
		if ahead.Abs() <= tolerance {
			level = slog.LevelInfo
		}
		p.t.Log.Log(ctx, level, "bus: this machine's clock and the server's", "ahead", ahead.Round(time.Millisecond))
	}
	if st.Mirror {
		st.Unsafe = append(st.Unsafe, "it is a mirror")
	}

	g.mu.Lock()
	g.reading, g.err = nil, err
	if err != nil {
		g.failedAt = time.Now()
		g.mu.Unlock()
		return
	}
	// When the stream was made counts within one era: after a loss that was found by
	// another sign it has perhaps been made anew, which is no loss more.
	old, same := g.state, g.known && g.era == era
	g.state, g.known, g.at, g.era = st, true, time.Now(), era
	g.written -= before
	if g.noRoom == streamFull && int64(st.Bytes)+wire.MaxMessageBytes <= st.MaxBytes {
		g.noRoom = roomLeft
	}
	g.mu.Unlock()
	gone := st.First > old.First && p.ledger.missing(era, st.First, p.now())

	if len(st.Unsafe) > 0 && !slices.Equal(st.Unsafe, old.Unsafe) {
		p.t.Log.Error("bus: the stream is unsafe; nothing is published to it", "stream", p.t.StreamName, "because", st.Unsafe)
	}
	if len(st.Weak) > 0 && !slices.Equal(st.Weak, old.Weak) {
		p.t.Log.Warn("bus: an accident could lose what the stream holds", "stream", p.t.StreamName, "because", st.Weak)
	}
	switch { // which is news only while the era lasts, see there
	case same && !old.Created.Equal(st.Created):
		p.recreated(era)
	case st.Last < highest, gone, st.Forgets && !old.Forgets:
		p.doubt(era)
	}
}

// isOfNow reports whether that era has not ended.
func (p *Publisher) isOfNow(era uint64) bool { return era == p.ledger.current() }

// expire makes the next call of facts read again.
func (p *Publisher) expire() {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	p.gauge.at = time.Time{}
}
