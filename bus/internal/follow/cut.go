package follow

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/snapshot"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A cut asks for a place in the log at which a snapshot goes on: that of an own heartbeat,
// which lives for as long as the snapshot is to be of use, and comes back in the log. It
// belongs to the follower's goroutine once that has taken it.
type cut struct {
	life  time.Duration
	nonce [16]byte // of the heartbeat; zero: it is not sent yet
	place chan snapshot.Log
}

// cutAgain is when a heartbeat that has not come back is taken to be lost.
const cutAgain = 5 * time.Second

// Cut sends a heartbeat that lives that long, and returns its place in the log once it is
// applied. What the List holds from then on holds all that stands before.
func (f *Follower) Cut(ctx context.Context, life time.Duration) (snapshot.Log, error) {
	for {
		c := &cut{life: life, place: make(chan snapshot.Log, 1)}
		select {
		case f.cuts <- c:
		case <-f.dead:
			return snapshot.Log{}, fmt.Errorf("bus: snapshots: member %w", transport.ErrClosed)
		case <-ctx.Done():
			return snapshot.Log{}, fmt.Errorf("bus: snapshots: the replica does not follow the log: %w", context.Cause(ctx))
		}
		again := time.NewTimer(cutAgain)
		select {
		case log := <-c.place:
			again.Stop()
			return log, nil
		case <-again.C:
		case <-f.dead:
			again.Stop()
			return snapshot.Log{}, fmt.Errorf("bus: snapshots: member %w", transport.ErrClosed)
		case <-ctx.Done():
			again.Stop()
			return snapshot.Log{}, fmt.Errorf("bus: snapshots: the heartbeat at which one would go on does not come back: %w", context.Cause(ctx))
		}
	}
}

// cutAt takes note that a heartbeat was applied.
func (f *Follower) cutAt(now revoke.Instant, r *replica.Record, nonce [16]byte) {
	c := f.beater.cut
	if c == nil || c.nonce == [16]byte{} || c.nonce != nonce {
		return
	}
	log, ok := f.feed.Place()
	if !ok || log.Sequence != r.Sequence || f.list.Status(now).State != revoke.StateFresh || !f.complete(r.Time) {
		return
	}
	f.beater.cut = nil
	c.place <- log
}

// complete reports whether what was applied is all that another version of this program would
// have been made stale by, and another trust would have taken: a snapshot says nothing of
// events that nobody here understands or believes.
func (f *Follower) complete(at time.Time) bool {
	if !at.After(f.passedBy) {
		return false
	}
	if f.critical.IsZero() {
		return true
	}
	return at.Sub(f.critical) > max(f.list.Config().TokenLifetime, f.feed.Retention().TokenLifetime)
}

// passed takes note of an event that is signed by no key that counts here. While keys are
// exchanged it may count where a snapshot is read.
func (f *Follower) passed(at time.Time, e *revoke.Event) {
	end := at.Add(f.feed.Retention().Longest(e.Kind))
	if e.Until.Before(end) {
		end = e.Until
	}
	if end.After(f.passedBy) {
		f.passedBy = end
	}
}

// isSigned reports whether there is a signature, be it by a key that counts or not.
func isSigned(m *nats.Msg) bool { return m.Header.Get(wire.SignatureHeader) != "" }
