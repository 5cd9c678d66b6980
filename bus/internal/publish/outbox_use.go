package publish

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

// unpack opens the outbox and takes up what it holds. One that the disk refuses is opened
// as soon as that goes.
func (p *Publisher) unpack(path string) error {
	o, alive, _, err := openOutbox(path, p.issuers...)
	if err != nil {
		return err
	}
	p.outbox = o
	o.others = p
	p.takeUp(alive, o.status())
	return nil
}

// takeUp takes up what was found in the outbox, and reports how it was.
func (p *Publisher) takeUp(alive []*record, s outboxStatus) {
	for _, rec := range alive {
		rec.fixed = rec.signature != "" && !p.vouches(rec)
	}
	pending := p.ledger.takeUp(alive, p.now()) // nothing has expired: nobody has told the time yet
	if s.damaged > 0 {
		p.t.Log.Error("bus: the outbox was damaged; what checks out of it is published again", "stretches", s.damaged, "because", s.why,
			"events", len(alive), "set_aside", s.aside)
	}
	if s.err != nil {
		p.t.Log.Error("bus: the outbox cannot be written; a restart would forget what is published meanwhile", "error", s.err)
	}
	if len(alive) > 0 || s.err != nil { // the watch also tries again to open it
		p.StartWatch()
	}
	if pending > 0 {
		p.t.Log.Info("bus: outbox: publishing what was not acknowledged", "events", pending)
		p.resume()
	}
}

// vouches reports whether the record is signed by this Member's key or a trusted one.
func (p *Publisher) vouches(rec *record) bool {
	return p.trust.With(p.signer).Verifies(&nats.Msg{Subject: rec.subject, Data: rec.payload, Header: nats.Header{wire.SignatureHeader: {rec.signature}}})
}

// keep puts the records into the outbox, if there is one, and reports whether they are on
// the disk.
func (p *Publisher) keep(recs ...*record) bool {
	if p.outbox == nil || len(recs) == 0 {
		return false
	}
	p.mend()
	if err := p.outbox.put(p.now(), recs...); err != nil {
		p.t.Log.Error("bus: outbox not written: a restart would forget these events", "events", len(recs), "error", err)
		return false
	}
	return true
}

// mend tries again to open the outbox, if there is one that could not be opened.
func (p *Publisher) mend() {
	if p.outbox == nil {
		return
	}
	if alive, opened := p.outbox.mend(); opened {
		p.t.Log.Info("bus: outbox: opened at last", "events", len(alive))
		p.takeUp(alive, p.outbox.status())
		p.outbox.takenUp()
	}
}

// settle takes note of an acknowledgement in that era.
func (p *Publisher) settle(rec *record, seq, era uint64) {
	if p.outbox == nil {
		return
	}
	if err := p.outbox.settled(rec, seq, era); err != nil {
		what := "bus: outbox not written: after a restart an event is published twice"
		if seq == 0 {
			what = "bus: outbox not written: after a restart an event that was given up is tried again"
		}
		p.t.Log.Warn(what, "error", err)
	}
}

// undelivered decides what becomes of a record that was not delivered: with an outbox it
// is tried further, unless that can never help. It returns what to tell the caller; kept
// says whether the record is on the disk.
func (p *Publisher) undelivered(rec *record, kept bool, err error) error {
	if p.outbox == nil {
		return err
	}
	if errors.Is(err, errTooLarge) || errors.Is(err, transport.ErrNotPermitted) {
		p.settle(rec, 0, 0)
		return err
	}
	p.ledger.keep(rec, p.now())
	p.setAside(rec, err)
	p.resume()
	if kept {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	return err
}

// acknowledgedAlive returns copies of the records that the outbox is to keep although
// they were acknowledged.
func (p *Publisher) acknowledgedAlive() []*record { return p.ledger.acknowledgedAlive(p.now()) }

// Close closes the outbox, if there is one.
func (p *Publisher) Close() {
	if p.outbox != nil {
		p.outbox.close()
	}
}
