package publish

import (
	"context"
	"errors"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// formerSlack is what the version before added to a cutoff, whatever the stream.
const formerSlack = 2 * time.Second

// completeEarly gives an event that was prepared before the stream was ever seen the cutoff and
// the life that the stream's retention demands. Until then it names neither and is kept for as
// long as there can be need: whatever happens to it meanwhile, it dies after the token that it
// is to kill. To remember the retention of the last time would not do: the stream may have been
// made anew since, with longer ones.
func (p *Publisher) completeEarly(ctx context.Context, rec *record, h revoke.Retention, now time.Time) error {
	if !rec.open || rec.fixed || rec.signature != "" && p.signer == nil {
		return nil // in the last two cases it is not ours to change, and replicas cut it back
	}
	var d wire.Decoder
	msg, fault := d.Decode(rec.subject, rec.payload)
	if fault != 0 || msg.Beat {
		return nil // it is not from here
	}
	e := msg.Event
	if e.At.IsZero() {
		return nil // nor is this
	}
	// What was left open is missing. The version before wrote the longest life and
	// its own slack, which was a constant.
	if e.Until.Sub(e.At) > h.Longest(e.Kind) {
		e.Until = time.Time{}
	}
	if e.Before.Equal(e.At.Add(formerSlack)) {
		e.Before = time.Time{}
	}
	from := e.At
	if t := e.Before.Add(-h.Slack()); t.After(from) {
		from = t
	}
	if least := from.Add(h.TokenLifetime); !e.Until.IsZero() && e.Kind != revoke.KindToken && e.Kind != revoke.KindKey && e.Until.Before(least) {
		e.Until = least // it was taken when nobody could know that tokens live longer
	}
	completed, err := e.Complete(from, h)
	if errors.Is(err, revoke.ErrInvalidEvent) {
		return nil // a version that looked less closely has left it: as it stands
	}
	if err != nil {
		return err
	}
	e.Before, e.Until = completed.Before, completed.Until
	if rec.kept { // it was given up for a while, see renew
		e.At = now
	}
	payload, err := wire.EncodeEvent(&e)
	if err != nil {
		return err
	}
	signature := rec.signature
	if signature != "" {
		if signature, err = p.signer.Sign(ctx, rec.subject, payload); err != nil {
			return err
		}
	}
	p.ledger.complete(rec, payload, signature, e.Until.Add(revoke.StreamMargin))
	return nil
}

// published returns e, which rec was prepared from, as it was published.
func (p *Publisher) published(rec *record, e revoke.Event) revoke.Event {
	if !rec.early {
		return e
	}
	payload, _, _ := p.ledger.content(rec)
	var d wire.Decoder
	if msg, fault := d.Decode(rec.subject, payload); fault == 0 {
		e.Before, e.Until = msg.Event.Before, msg.Event.Until
	}
	return e
}
