package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
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

// A room says whether the server itself has refused an event for want of room.
type room uint8

const (
	roomLeft    room = iota // it has not
	streamFull              // in the stream; a reading tells when there is some again
	accountFull             // in the account or on the disk, of which the stream's state says nothing
)

// fill returns the share of MaxBytes by which events are taken or refused. What the
// server refuses for want of room is full, whatever the reading says. The caller holds mu.
func (g *gauge) fill() float64 {
	share := 0.0
	if g.state.MaxBytes > 0 {
		share = float64(int64(g.state.Bytes)+g.written) / float64(g.state.MaxBytes)
	}
	if g.noRoom != roomLeft {
		share = max(share, 1)
	}
	return share
}

// refusedForRoom takes note that the server has no room for rec, and reads how full the
// stream is: its limit is perhaps no longer the one that was known.
func (p *publisher) refusedForRoom(ctx context.Context, why room) {
	p.gauge.mu.Lock()
	p.gauge.noRoom = why
	p.gauge.mu.Unlock()
	p.expire()
	_, _ = p.facts(ctx, refusalInterval) // for Stats; this event is refused already
}

// isKnown reports whether the stream was ever seen.
func (g *gauge) isKnown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known
}

// facts returns the stream's state, at most maxAge old and less than 1 % of
// MaxBytes of our own writing behind. While the server does not answer it makes do
// with an older one. Calls share one reading, which does not end with any of them.
func (p *publisher) facts(ctx context.Context, maxAge time.Duration) (stream.State, error) {
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
func (p *publisher) startReading() (<-chan struct{}, error) {
	g := &p.gauge
	if g.reading == nil {
		leave, err := p.t.enter()
		if err != nil {
			return nil, err
		}
		reading := make(chan struct{})
		g.reading = reading
		go func() {
			defer leave()
			_, _ = p.read(p.t.ctx)
			close(reading)
		}()
	}
	return g.reading, nil
}

// foresee begins the reading that the acknowledgement of what is sent now will need, so
// that it is there when that comes.
func (p *publisher) foresee() {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.began) > settingsAge/2 {
		_, _ = p.startReading()
	}
}

// vouch returns nil if the stream was safe, by a reading that was begun no longer than
// settingsAge before an acknowledgement came: who edits it to forget thus has settingsAge
// in which acknowledgements still count. It reads again until it is answered or ctx ends.
func (p *publisher) vouch(ctx context.Context, acknowledged time.Time) error {
	g := &p.gauge
	for attempt := 0; ; attempt++ {
		g.mu.Lock()
		known, unsafe, err := !g.began.Before(acknowledged.Add(-settingsAge)), g.state.Unsafe, g.err
		g.mu.Unlock()
		switch {
		case known && len(unsafe) > 0:
			return unsure(true, p.isUnsafe(unsafe))
		case known:
			return nil
		case errors.Is(err, ErrNoStream):
			return unsure(true, err)
		case attempt > 0 && err != nil:
			if err := p.pause(ctx, attempt, fmt.Errorf("acknowledged, but the stream's settings cannot be read: %w", err)); err != nil {
				return err
			}
		}
		if _, err := p.facts(ctx, 0); err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrNotAcknowledged, context.Cause(ctx))
		} else if errors.Is(err, ErrClosed) {
			return unsure(true, err)
		}
	}
}

func (p *publisher) isUnsafe(list []string) error {
	return fmt.Errorf("%w: %s: %s", ErrStreamUnsafe, p.t.stream, strings.Join(list, "; "))
}

// usable returns the newest state. A stream known to be gone is an error; one that
// could not be asked about is taken to be as it was.
func (g *gauge) usable() (stream.State, error) {
	if g.err != nil && (!g.known || errors.Is(g.err, ErrNoStream)) {
		return stream.State{}, g.err
	}
	return g.state, nil
}

// read asks the server and takes the answer in.
func (p *publisher) read(ctx context.Context) (stream.State, error) {
	g := &p.gauge
	g.mu.Lock()
	before := g.written
	g.mu.Unlock()
	highest, era := p.ledger.begin()
	began := time.Now()
	st, err := p.t.readStream(ctx)
	st, err = p.took(ctx, st, err, before, highest, era)
	if err == nil {
		g.mu.Lock()
		g.began = began
		g.mu.Unlock()
	}
	return st, err
}

// took takes in what the server said when it was asked with before bytes written, and
// those two of [ledger.begin].
func (p *publisher) took(ctx context.Context, st stream.State, err error, before int64, highest, era uint64) (stream.State, error) {
	g := &p.gauge
	if err == nil && p.clock.set(st.Now, revoke.Now()) {
		ahead := time.Duration(p.clock.ahead.Load())
		level := slog.LevelWarn
		if ahead.Abs() <= tolerance {
			level = slog.LevelInfo
		}
		p.t.log.Log(ctx, level, "bus: this machine's clock and the server's", "ahead", ahead.Round(time.Millisecond))
	}
	if st.Mirror {
		st.Unsafe = append(st.Unsafe, "it is a mirror")
	}

	g.mu.Lock()
	g.reading, g.err = nil, err
	if err != nil {
		g.failedAt = time.Now()
		g.mu.Unlock()
		return st, err
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
		p.t.log.Error("bus: the stream is unsafe; nothing is published to it", "stream", p.t.stream, "because", st.Unsafe)
	}
	if len(st.Weak) > 0 && !slices.Equal(st.Weak, old.Weak) {
		p.t.log.Warn("bus: an accident could lose what the stream holds", "stream", p.t.stream, "because", st.Weak)
	}
	switch { // which is news only while the era lasts, see there
	case same && !old.Created.Equal(st.Created):
		p.recreated(era)
	case st.Last < highest, gone, st.Forgets && !old.Forgets:
		p.doubt(era)
	}
	return st, nil
}

// isOfNow reports whether that era has not ended.
func (p *publisher) isOfNow(era uint64) bool { return era == p.ledger.current() }

// expire makes the next call of facts read again.
func (p *publisher) expire() {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	p.gauge.at = time.Time{}
}

// reserve makes sure that the stream has room for rec within its limit, and counts
// it as in flight until release.
//
// What is acknowledged or in flight while a reading is under way may be in it and is
// counted once more. So only a reading refuses: where the stream would have room but
// for what is counted beside it, that is waited for and read again.
func (p *publisher) reserve(ctx context.Context, rec *record) error {
	if p.fits(rec) {
		return nil
	}
	if _, err := p.facts(ctx, refusalInterval); err != nil { // messages expire all the time
		return err
	}
	tick := time.NewTicker(recountInterval)
	defer tick.Stop()
	for end := time.Now().Add(attemptTimeout); !p.fits(rec); {
		if p.surelyFull(rec) || time.Now().After(end) {
			return fmt.Errorf("%w: %s has reached %d %% of its %d bytes", ErrFull, p.t.stream, rec.limit, p.maxBytes())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := p.facts(ctx, 0); err != nil {
			return err
		}
	}
	return nil
}

// recountInterval is how long who waits for room lets others' events settle.
const recountInterval = 20 * time.Millisecond

// surelyFull reports whether the newest reading alone leaves no room for rec, or no
// better one is to be had.
func (p *publisher) surelyFull(rec *record) bool {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	beside := g.written + g.inFlight
	return beside == 0 || g.err != nil || int64(g.state.Bytes)+rec.size() > g.state.MaxBytes/100*int64(rec.limit)
}

func (p *publisher) fits(rec *record) bool {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	after := int64(g.state.Bytes) + g.written + g.inFlight + rec.size()
	if after > g.state.MaxBytes/100*int64(rec.limit) {
		return false
	}
	g.inFlight += rec.size()
	return true
}

// accepted takes note that the server has acknowledged an event: it has room.
func (p *publisher) accepted() {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	p.gauge.noRoom = roomLeft
}

// release ends what reserve began. What may be stored counts as if it were.
func (p *publisher) release(rec *record, stored bool) {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight -= rec.size()
	if stored {
		g.written += rec.size()
	}
}

func (p *publisher) maxBytes() int64 {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	return p.gauge.state.MaxBytes
}
