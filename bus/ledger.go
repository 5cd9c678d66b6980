package bus

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

const (
	// What a publisher remembers, to republish it should the stream lose it.
	maxRemembered      = 100_000
	maxRememberedBytes = 64 << 20

	republishWorkers = 16
	maxRepublishWait = 30 * time.Second
)

// A ledger holds what was acknowledged. Sequences of one stream only grow, so an
// acknowledgement at or below the highest that was known when the message was sent
// comes from a stream that has forgotten: rolled back, or made anew. An era is the
// time between two such findings.
type ledger struct {
	mu         sync.Mutex
	era        uint64        // less one: the zero ledger is in era 1
	highest    uint64        // acknowledged sequence of this era
	alive      living        // what is to be republished after a loss
	bytes      int64         // of alive
	recovering bool          // a goroutine is republishing
	suspects   chan struct{} // holds a token while one of them is under way; see alone
	stats      Publishing

	// For the watch, see there.
	began     time.Time     // of this era
	epoch     uint64        // reconnects when something was last sent
	witnesses []witness     // of this era, by sequence
	checked   time.Time     // when all of them were last found
	refused   bool          // the connection may not read messages
	trusted   time.Time     // until then no doubt has effect
	pause     time.Duration // between the last doubt and trusted
	doubted   bool          // there was one meanwhile
}

func (l *ledger) current() uint64 { return l.era + 1 }

// begin returns what acknowledged must be given for a message sent after it.
func (l *ledger) begin() (floor, era uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.highest, l.current()
}

// tellsOfLoss reports whether a stream with a memory could not have given ack.
func tellsOfLoss(ack *jetstream.PubAck, retried bool, floor uint64) bool {
	return ack.Sequence <= floor || ack.Duplicate && !retried
}

// contradicted reports whether ack tells of a loss of which the stream itself, asked,
// knows nothing: it holds the newest that it acknowledged, and a log that was rolled back
// has lost that first. Then ack is forged, by somebody who may write to our inbox, and must
// not have everything published again. Without an answer ack is believed.
func (p *publisher) contradicted(ctx context.Context, ack *jetstream.PubAck, retried bool, floor, era uint64) bool {
	if !tellsOfLoss(ack, retried, floor) {
		return false
	}
	l := &p.ledger
	l.mu.Lock()
	newest := l.newest(p.now())
	if era != l.current() || newest == nil {
		l.mu.Unlock()
		return false
	}
	w := witness{newest.seq, newest.subject, newest.payload, newest.gone}
	l.mu.Unlock()
	if found, err := p.holds(ctx, w); err != nil || !found {
		return false
	}
	l.mu.Lock()
	l.stats.Contradicted++
	l.mu.Unlock()
	p.b.log.Warn("bus: an acknowledgement tells of a loss that the stream does not know of; others may write to this connection's inbox",
		"stream", p.b.stream, "sequence", ack.Sequence)
	return true
}

// acknowledged judges an acknowledgement and reports whether rec may be relied on
// to be in the stream. If not, rec must be sent again under a new message id.
func (p *publisher) acknowledged(rec *record, ack *jetstream.PubAck, retried bool, floor, era uint64) bool {
	l := &p.ledger
	l.mu.Lock()
	if era == l.current() && tellsOfLoss(ack, retried, floor) {
		p.lost(ack.Sequence)
		l.mu.Unlock()
		p.recover()
		return false
	}
	defer p.b.startWatch()
	defer l.mu.Unlock()
	if era != l.current() {
		// Another call found a loss while rec was under way: it may have been stored
		// before that, and be lost too.
		return false
	}
	l.highest = max(l.highest, ack.Sequence)
	if rec.era == 0 {
		l.stats.Acknowledged++
	} else {
		l.stats.Republished++
	}
	rec.era, rec.seq, rec.ends = era, ack.Sequence, 0
	if !rec.kept {
		l.remember(rec, p.now())
	}
	return true
}

// missing reports whether an acknowledged event that must still be there stands before
// the stream's first: limits that are set for a moment, and a purge, take the oldest. The
// caller holds mu.
func (l *ledger) missing(first uint64, now time.Time) bool {
	return slices.ContainsFunc(l.alive, func(rec *record) bool {
		return rec.era == l.current() && rec.seq != 0 && rec.seq < first && rec.gone.After(now.Add(2*time.Minute))
	})
}

// recreated takes note that the stream was made anew in that era.
func (p *publisher) recreated(era uint64) {
	l := &p.ledger
	l.mu.Lock()
	if era != l.current() { // it is the loss that ended the era
		l.mu.Unlock()
		return
	}
	p.lost(0)
	l.mu.Unlock()
	p.recover()
}

// lost begins an era. The stream is read again before anything is sent in it, and when
// that one was made is not held against what was known before: a stream made anew is one
// loss, by whichever of its signs it was found. The caller holds the ledger's mu.
func (p *publisher) lost(highest uint64) {
	p.ledger.lost(highest)
	g := &p.gauge
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.created, g.at = time.Time{}, time.Time{}
}

// lost begins an era, for [publisher.lost].
func (l *ledger) lost(highest uint64) {
	l.era++
	l.highest = highest
	l.began = time.Now()
	l.witnesses, l.doubted = nil, false
	l.stats.Losses++
}

// recover sees to it that everything alive is republished.
func (p *publisher) recover() {
	l := &p.ledger
	l.mu.Lock()
	known, forgotten, already := len(l.alive), l.stats.Forgotten, l.recovering
	l.recovering = true
	l.mu.Unlock()
	p.b.log.Error("bus: the stream has lost acknowledged revocations; republishing those still known",
		"stream", p.b.stream, "known", known, "forgotten", forgotten)
	if p.outbox != nil {
		if err := p.outbox.lost(); err != nil {
			p.b.log.Error("bus: outbox not written: a restart before everything is republished would forget the rest", "error", err)
		}
	}
	if already {
		return // that one will notice the new era
	}
	leave, err := p.b.enter()
	if err != nil {
		return // closed
	}
	go func() {
		defer leave()
		p.republish(p.b.ctx)
	}()
}

// remember adds rec to the living, and makes room for it: what expires soonest goes
// first, and is counted if it was alive.
func (l *ledger) remember(rec *record, now time.Time) {
	rec.kept, rec.limit = true, limitMass
	heap.Push(&l.alive, rec)
	l.bytes += rec.memory()
	for len(l.alive) > 0 {
		expired := now.After(l.alive[0].gone)
		if !expired && len(l.alive) <= maxRemembered && l.bytes <= maxRememberedBytes {
			return
		}
		old := heap.Pop(&l.alive).(*record)
		old.kept = false
		if expired {
			l.lapse(old)
		}
		l.bytes -= old.memory()
		if !expired {
			l.stats.Forgotten++
		}
	}
}

// lapse counts an event that has expired before it was acknowledged, once.
func (l *ledger) lapse(rec *record) bool {
	if rec.era == l.current() || rec.lapsed {
		return false
	}
	rec.lapsed = true
	l.stats.Expired++
	return true
}

// pending returns the living that were not acknowledged in the current era. When
// there are none, recovery is over. It returns besides those that have expired since
// they were last looked for, and how many are set aside.
func (l *ledger) pending(now time.Time) (list, lapsed []*record, aside int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rec := range l.alive {
		switch {
		case rec.era == l.current():
		case now.Before(rec.gone) && now.Before(rec.aside):
			aside++
		case now.Before(rec.gone):
			list = append(list, rec)
		case l.lapse(rec):
			lapsed = append(lapsed, rec)
		}
	}
	l.recovering = len(list)+aside > 0
	return list, lapsed, aside
}

// republish sends again, as often as it takes, what was not acknowledged in the
// current era.
func (p *publisher) republish(ctx context.Context) {
	said := "" // each reason once
	for attempt := 0; ; attempt++ {
		pending, lapsed, aside := p.ledger.pending(p.now())
		if len(lapsed) > 0 {
			p.b.log.Error("bus: events have expired before the stream acknowledged them", "stream", p.b.stream, "events", len(lapsed))
			for _, rec := range lapsed {
				p.settle(rec, 0)
			}
		}
		if len(pending) == 0 && aside == 0 {
			p.b.log.Info("bus: everything known is republished", "stream", p.b.stream)
			return
		}
		if len(pending) == 0 {
			attempt = 16 // until those that were set aside are due
		} else if err := p.republishOnce(ctx, pending); err == nil {
			attempt = -1
			continue
		} else if ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			p.b.log.Warn("bus: republishing interrupted", "stream", p.b.stream, "error", err)
		}
		if pause.Wait(ctx, pause.Growing(firstBackoff, maxRepublishWait, attempt)) != nil {
			pending, _, aside := p.ledger.pending(p.now())
			p.b.log.Error("bus: closed before everything was republished", "stream", p.b.stream, "pending", len(pending)+aside)
			return
		}
	}
}

// republishOnce delivers each record, or returns the first error.
func (p *publisher) republishOnce(ctx context.Context, pending []*record) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan *record)
	var wg sync.WaitGroup
	for range min(republishWorkers, len(pending)) {
		wg.Go(func() {
			for rec := range work {
				ctx, done := withDefaultTimeout(ctx, defaultTimeout)
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

// renew writes the present into rec as the time of its publication, and has it signed
// again. Replicas compare it with the stream's timestamp, and would take the broker's
// clock to be wrong.
func (p *publisher) renew(ctx context.Context, rec *record, now time.Time) error {
	l := &p.ledger
	l.mu.Lock()
	payload, signature, open := rec.payload, rec.signature, rec.open
	l.mu.Unlock()
	if open { // limit needs the old one
		return nil
	}
	const name = `,"at":` // the last member; in a text its quotes would be escaped
	i := bytes.LastIndex(payload, []byte(name))
	if i < 0 || rec.fixed || signature != "" && p.b.signer == nil { // signed by an earlier life of the outbox
		return nil
	}
	head := slices.Clip(payload[:i+len(name)]) // a witness may hold the old one
	payload = append(strconv.AppendInt(head, replica.CeilMilli(now).UnixMilli(), 10), '}')
	if signature != "" {
		var err error
		if signature, err = p.b.signer.sign(ctx, rec.subject, payload); err != nil {
			return err
		}
	}
	l.mu.Lock()
	rec.payload, rec.signature = payload, signature
	l.mu.Unlock()
	return nil
}

// living is a heap of records, the soonest to expire first.
type living []*record

func (h living) Len() int           { return len(h) }
func (h living) Less(i, j int) bool { return h[i].gone.Before(h[j].gone) }
func (h living) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *living) Push(x any) {
	rec := x.(*record)
	rec.at = len(*h)
	*h = append(*h, rec)
}
func (h *living) Pop() any {
	old := *h
	rec := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return rec
}

// memory is about what the record takes here.
func (r *record) memory() int64 { return int64(len(r.subject)+len(r.payload)+len(r.signature)) + 160 }
