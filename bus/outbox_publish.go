package bus

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
)

// unpack opens the outbox and takes up what it holds. One that the disk refuses is opened
// as soon as that goes.
func (p *publisher) unpack(path string) error {
	o, alive, _, err := openOutbox(path, p.b.cfg.Issuers...)
	if err != nil {
		return err
	}
	p.outbox = o
	o.now = p.now
	l := &p.ledger
	o.stands = func(rec *record) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return rec.era == l.current()
	}
	o.keep = p.acknowledgedAlive
	o.found = func(alive []*record) {
		p.b.log.Info("bus: outbox: opened at last", "events", len(alive))
		p.takeUp(alive, o.status())
	}
	p.takeUp(alive, o.status())
	return nil
}

// takeUp takes up what was found in the outbox, and reports how it was.
func (p *publisher) takeUp(alive []*record, s outboxStatus) {
	l := &p.ledger
	pending := 0
	l.mu.Lock()
	now := p.now() // nothing has expired: nobody has told the time yet
	for _, rec := range alive {
		rec.fixed = rec.signature != "" && !p.b.vouches(rec)
		if rec.seq != 0 {
			// As if it had been acknowledged just now: if the stream holds something
			// else there, the watch finds out.
			rec.era = l.current()
			l.highest = max(l.highest, rec.seq)
		} else {
			pending++
		}
		l.remember(rec, now)
	}
	// Before anything else is acknowledged, which would tell nothing of what was stored
	// before: a stream made anew meanwhile may be longer than the one that was.
	l.testify(time.Now())
	l.mu.Unlock()
	if s.damaged > 0 {
		p.b.log.Error("bus: the outbox was damaged; what checks out of it is published again", "stretches", s.damaged, "because", s.why,
			"events", len(alive), "set_aside", s.aside)
	}
	if s.err != nil {
		p.b.log.Error("bus: the outbox cannot be written; a restart would forget what is published meanwhile", "error", s.err)
	}
	if len(alive) > 0 || s.err != nil { // the watch also tries again to open it
		p.b.startWatch()
	}
	if pending > 0 {
		p.b.log.Info("bus: outbox: publishing what was not acknowledged", "events", pending)
		p.resume()
	}
}

// vouches reports whether the record is signed by this Member's key or a trusted one.
func (b *core) vouches(rec *record) bool {
	keys := trust{}
	maps.Copy(keys, b.trust)
	if b.signer != nil {
		keys[keyNumberOf(b.signer.public)] = b.signer.public
	}
	return keys.verifies(&nats.Msg{Subject: rec.subject, Data: rec.payload, Header: nats.Header{SignatureHeader: {rec.signature}}})
}

// resume has everything alive published that is not acknowledged, in the background.
func (p *publisher) resume() {
	l := &p.ledger
	l.mu.Lock()
	already := l.recovering
	l.recovering = true
	l.mu.Unlock()
	if already {
		return
	}
	leave, err := p.b.enter()
	if err != nil {
		return // closed; the file keeps it
	}
	go func() {
		defer leave()
		p.republish(p.b.ctx)
	}()
}

// keep puts the records into the outbox, if there is one, and reports whether they are on
// the disk.
func (p *publisher) keep(recs ...*record) bool {
	if p.outbox == nil || len(recs) == 0 {
		return false
	}
	if err := p.outbox.put(recs...); err != nil {
		p.b.log.Error("bus: outbox not written: a restart would forget these events", "events", len(recs), "error", err)
		return false
	}
	return true
}

// settle takes note of an acknowledgement.
func (p *publisher) settle(rec *record, seq uint64) {
	if p.outbox == nil {
		return
	}
	if err := p.outbox.settled(rec, seq, p.acknowledgedAlive); err != nil {
		what := "bus: outbox not written: after a restart an event is published twice"
		if seq == 0 {
			what = "bus: outbox not written: after a restart an event that was given up is tried again"
		}
		p.b.log.Warn(what, "error", err)
	}
}

// undelivered decides what becomes of a record that was not delivered: with an outbox it
// is tried further, unless that can never help. It returns what to tell the caller; kept
// says whether the record is on the disk.
func (p *publisher) undelivered(rec *record, kept bool, err error) error {
	if p.outbox == nil {
		return err
	}
	if errors.Is(err, errTooLarge) || errors.Is(err, errNotPermitted) {
		p.settle(rec, 0)
		return err
	}
	l := &p.ledger
	l.mu.Lock()
	if !rec.kept {
		l.remember(rec, p.now())
	}
	l.mu.Unlock()
	p.setAside(rec, err)
	p.resume()
	if kept {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	return err
}

// acknowledgedAlive returns copies of the records that the outbox is to keep although
// they were acknowledged.
func (p *publisher) acknowledgedAlive() []*record {
	l := &p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	now := p.now()
	list := make([]*record, 0, len(l.alive))
	for _, rec := range l.alive {
		if rec.id != "" && rec.seq != 0 && now.Before(rec.gone) {
			copied := rec.stored()
			if rec.era != l.current() {
				copied.seq = 0 // lost, and not acknowledged again yet
			}
			list = append(list, copied)
		}
	}
	return list
}
