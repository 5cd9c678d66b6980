package publish

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

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

// recountInterval is how long who waits for room lets others' events settle.
const recountInterval = 20 * time.Millisecond

// refusedForRoom takes note that the server has no room for an event, and reads how full the
// stream is: its limit is perhaps no longer the one that was known.
func (p *Publisher) refusedForRoom(ctx context.Context, why room) {
	p.gauge.mu.Lock()
	p.gauge.noRoom = why
	p.gauge.mu.Unlock()
	p.expire()
	_, _ = p.facts(ctx, refusalInterval) // for Stats; this event is refused already
}

// reserve makes sure that the stream has room for size bytes within limit, in percent, and
// counts them as in flight until release.
//
// What is acknowledged or in flight while a reading is under way may be in it and is
// counted once more. So only a reading refuses: where the stream would have room but
// for what is counted beside it, that is waited for and read again.
func (p *Publisher) reserve(ctx context.Context, size int64, limit int) error {
	if p.fits(size, limit) {
		return nil
	}
	if _, err := p.facts(ctx, refusalInterval); err != nil { // messages expire all the time
		return err
	}
	tick := time.NewTicker(recountInterval)
	defer tick.Stop()
	for end := time.Now().Add(transport.AttemptTimeout); !p.fits(size, limit); {
		if p.surelyFull(size, limit) || time.Now().After(end) {
			if err := p.gauge.unanswered(); err != nil {
				return fmt.Errorf("how full %s is cannot be read: %w", p.t.StreamName, err)
			}
			return fmt.Errorf("%w: %s has reached %d %% of its %d bytes", ErrFull, p.t.StreamName, limit, p.maxBytes())
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

// surelyFull reports whether the newest reading alone leaves no room for size bytes, or
// no better one is to be had.
func (p *Publisher) surelyFull(size int64, limit int) bool {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	beside := g.written + g.inFlight
	return beside == 0 || g.err != nil || int64(g.state.Bytes)+size > g.state.MaxBytes/100*int64(limit)
}

func (p *Publisher) fits(size int64, limit int) bool {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	after := int64(g.state.Bytes) + g.written + g.inFlight + size
	if after > g.state.MaxBytes/100*int64(limit) {
		return false
	}
	g.inFlight += size
	return true
}

// accepted takes note that the server has acknowledged an event: it has room.
func (p *Publisher) accepted() {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	p.gauge.noRoom = roomLeft
}

// release ends what reserve began. What may be stored counts as if it were.
func (p *Publisher) release(size int64, stored bool) {
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight -= size
	if stored {
		g.written += size
	}
}

func (p *Publisher) maxBytes() int64 {
	p.gauge.mu.Lock()
	defer p.gauge.mu.Unlock()
	return p.gauge.state.MaxBytes
}
