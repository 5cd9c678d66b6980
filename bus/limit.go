package bus

import (
	"container/heap"
	"context"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// limit gives an event that was prepared before the stream was ever seen the life that
// the stream's horizons demand. Until then it has the longest that there can be: whatever
// happens to it meanwhile, it dies after the token that it is to kill. To remember the
// horizons of the last time would not do: the stream may have been made anew since, with
// longer ones.
func (p *publisher) limit(ctx context.Context, rec *record, h revoke.Horizons, now time.Time) error {
	if !rec.open || rec.fixed || rec.signature != "" && p.b.signer == nil {
		return nil // in the last two cases it is not ours to change, and replicas cut it back
	}
	var d decoder
	msg, fault := d.decode(rec.subject, rec.payload)
	if fault != 0 || msg.beat {
		return nil // it is not from here
	}
	e := msg.event
	from := e.At
	if t := e.Before.Add(-2 * time.Second); t.After(from) {
		from = t
	}
	e.Until = time.Time{}
	completed, err := e.Complete(from, h)
	if err != nil {
		return err
	}
	e.Until = completed.Until
	if rec.kept { // it was given up for a while, see renew
		e.At = now
	}
	payload, err := encodeEvent(&e)
	if err != nil {
		return err
	}
	signature := rec.signature
	if signature != "" {
		if signature, err = p.b.signer.sign(ctx, rec.subject, payload); err != nil {
			return err
		}
	}
	l := &p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	before := rec.memory()
	rec.payload, rec.signature, rec.gone, rec.open = payload, signature, e.Until.Add(ttlMargin), false
	if rec.kept {
		l.bytes += rec.memory() - before
		heap.Fix(&l.alive, rec.at)
	}
	return nil
}

// until is when the event's tokens have expired.
func (r *record) until() time.Time { return r.gone.Add(-ttlMargin) }
