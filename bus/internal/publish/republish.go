package publish

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// recover sees to it that everything alive is republished.
func (p *Publisher) recover() {
	already, known, forgotten := p.ledger.recover()
	p.t.Log.Error("bus: the stream has lost acknowledged revocations; republishing those still known",
		"stream", p.t.StreamName, "known", known, "forgotten", forgotten)
	if p.outbox != nil {
		if err := p.outbox.lost(p.ledger.current()); err != nil {
			p.t.Log.Error("bus: outbox not written: a restart before everything is republished would forget the rest", "error", err)
		}
	}
	if already {
		return // that one will notice the new era
	}
	leave, err := p.t.Enter()
	if err != nil {
		return // closed
	}
	go func() {
		defer leave()
		p.republish(p.t.Context)
	}()
}

// republish sends again, as often as it takes, what was not acknowledged in the
// current era.
func (p *Publisher) republish(ctx context.Context) {
	said := "" // each reason once
	for attempt := 0; ; attempt++ {
		pending, lapsed, aside := p.ledger.pending(p.now())
		if len(lapsed) > 0 {
			p.t.Log.Error("bus: events have expired before the stream acknowledged them", "stream", p.t.StreamName, "events", len(lapsed))
			for _, rec := range lapsed {
				p.settle(rec, 0, 0)
			}
		}
		if len(pending) == 0 && aside == 0 {
			p.t.Log.Info("bus: everything known is republished", "stream", p.t.StreamName)
			return
		}
		if len(pending) == 0 {
			attempt = 16 // until those that were set aside are due
		} else if err := p.republishOnce(ctx, pending); err == nil {
			attempt = -1
			continue
		} else if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			p.t.Log.Warn("bus: republishing interrupted", "stream", p.t.StreamName, "error", err)
		}
		if pause.Wait(ctx, pause.Growing(firstBackoff, maxRepublishWait, attempt)) != nil {
			pending, _, aside := p.ledger.pending(p.now())
			p.t.Log.Error("bus: closed before everything was republished", "stream", p.t.StreamName, "pending", len(pending)+aside)
			return
		}
	}
}

// republishOnce delivers each record, or returns the first error.
func (p *Publisher) republishOnce(ctx context.Context, pending []*record) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *record)
	var wg sync.WaitGroup
	for range min(republishWorkers, len(pending)) {
		wg.Go(func() {
			for rec := range work {
				ctx, done := transport.WithDefaultTimeout(ctx, transport.DefaultTimeout)
				err := p.renew(ctx, rec, time.Now())
				if err == nil {
					_, err = p.ready(ctx) // from then on it is known what time it is
				}
				if err == nil && p.now().Before(rec.gone) {
					_, err = p.deliver(ctx, rec)
				}
				if err != nil && !p.setAside(rec, err) {
					cancel(err)
				}
				done()
			}
		})
	}
send:
	for _, rec := range pending {
		select {
		case work <- rec:
		case <-ctx.Done():
			break send
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

const (
	republishWorkers = 16
	maxRepublishWait = 30 * time.Second
)

// renew writes the present into rec as the time of its publication, and has it signed
// again. Replicas compare it with the stream's timestamp, and would take the broker's
// clock to be wrong.
func (p *Publisher) renew(ctx context.Context, rec *record, now time.Time) error {
	payload, signature, open := p.ledger.content(rec)
	if open { // completeEarly needs the old one
		return nil
	}
	const name = `,"at":` // the last member; in a text its quotes would be escaped
	i := bytes.LastIndex(payload, []byte(name))
	if i < 0 || rec.fixed || signature != "" && p.signer == nil { // signed by an earlier life of the outbox
		return nil
	}
	head := slices.Clip(payload[:i+len(name)]) // a witness may hold the old one
	payload = append(strconv.AppendInt(head, replica.CeilMilli(now).UnixMilli(), 10), '}')
	if signature != "" {
		var err error
		if signature, err = p.signer.Sign(ctx, rec.subject, payload); err != nil {
			return err
		}
	}
	p.ledger.rewrite(rec, payload, signature)
	return nil
}

// resume has everything alive published that is not acknowledged, in the background.
func (p *Publisher) resume() {
	if already, _, _ := p.ledger.recover(); already {
		return
	}
	leave, err := p.t.Enter()
	if err != nil {
		return // closed; the file keeps it
	}
	go func() {
		defer leave()
		p.republish(p.t.Context)
	}()
}
