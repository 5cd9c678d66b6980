package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// defaultTimeout bounds a call whose context has no deadline. It outlasts the
// election after an unclean loss of the stream's leader, 4 to 9 s.
const defaultTimeout = 15 * time.Second

// batchWorkers is how many events PublishAll has in flight.
const batchWorkers = 64

// How full the stream may be, in percent of its MaxBytes, for what is published.
// Mass kinds come first in need, batches last; heartbeats have the rest.
const (
	limitSingle = 90
	limitMass   = 97
	limitBatch  = 80
)

// A Receipt proves that the stream has acknowledged an event.
type Receipt = revoke.Receipt

// Publish revokes what e names. When it returns nil, the stream has acknowledged
// the event, and every check that begins more than MaxStaleness later obeys it or
// answers "cannot know".
//
// An acknowledgement counts only with a reading of the stream's settings that was begun at
// most 2 s before it came, and found the stream safe. So an event acknowledged later than
// 2 s after somebody has edited the stream to forget is refused, [ErrStreamUnsafe]; what
// was acknowledged in between is, with all else that this Bus knows, published again as
// soon as the stream is mended.
//
// It fills in what is missing: Issuer, a random ID, At, and Before and Until as
// [revoke.Event.Complete] does with the stream's horizons: Before is twice the stream's
// MaxSkew ahead, so that no token survives that was issued until now, whatever clocks
// within MaxSkew say. What is issued next passes it by the Receipt: hand it to package
// token's IssueRequest.After; sessions of package refresh pass it by themselves. It refuses events that
// replicas would ignore or cut back ([revoke.ErrInvalidEvent]), any issuer but the
// configured one among them. It tries, under one message id, until ctx ends, or for
// 15 s if ctx has no deadline.
//
// Any error means that the revocation must be presumed not to have happened, and
// that the caller must publish again or tell someone. [ErrNotAcknowledged] leaves
// open whether it was stored; [ErrFull], [ErrNoStream] and [ErrStreamUnsafe] do not
// go away by themselves. Where [Config].OutboxFile has the event the error is also
// [ErrKept], and the Bus goes on trying in the background, also after a restart;
// publishing again is as harmless as ever.
func (b *Bus) Publish(ctx context.Context, e revoke.Event) (Receipt, error) {
	r, _, err := b.publish(ctx, e)
	return r, err
}

func (b *Bus) publish(ctx context.Context, e revoke.Event) (Receipt, *record, error) {
	ctx, done, err := b.call(ctx, defaultTimeout)
	if err != nil {
		return Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	defer done()
	limit := limitSingle
	if e.Kind.Mass() {
		limit = limitMass
	}
	valid, err := b.own(e)
	if err != nil {
		return Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	e, rec, err := b.publisher.prepare(ctx, valid, limit)
	if err != nil {
		return Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	kept := b.publisher.keep(rec)
	seq, err := b.publisher.deliver(ctx, rec)
	if err != nil {
		err = b.publisher.undelivered(rec, kept, err)
		return Receipt{}, nil, fmt.Errorf("bus: publish %s %s: %w", e.Kind, e.ID, err)
	}
	return Receipt{ID: e.ID, Sequence: seq, Time: time.Now(), Event: b.publisher.published(rec, e)}, rec, nil
}

// A Result is what became of one event of a batch.
type Result struct {
	Receipt Receipt
	Err     error // nil if and only if the event was acknowledged
}

// PublishAll publishes many events, several at a time and in no particular order,
// and returns one Result for each, in the order of events. It refuses the whole
// batch before anything is sent if one event is invalid. After the first failure
// it starts no more. Batches may fill the stream to 80 % only, so that single
// revocations still fit ([ErrFull]).
//
// The error is nil if and only if every event was acknowledged; otherwise it wraps
// the first failure. If ctx has no deadline each event has 15 s.
func (b *Bus) PublishAll(ctx context.Context, events []revoke.Event) ([]Result, error) {
	ctx, done, err := b.call(ctx, 0)
	if err != nil {
		return failed(len(events), fmt.Errorf("bus: publish all: %w", err))
	}
	defer done()
	recs := make([]*record, len(events))
	results := make([]Result, len(events))
	for i, e := range events {
		valid, err := b.own(e)
		if err == nil {
			results[i].Receipt.Event, recs[i], err = b.publisher.prepare(ctx, valid, limitBatch)
		}
		if err != nil {
			return failed(len(events), fmt.Errorf("bus: publish all: event %d of %d: %w", i+1, len(events), err))
		}
	}
	kept := b.publisher.keep(recs...)
	var (
		next  atomic.Int64
		first atomic.Pointer[error] // the failure that stops the rest
		wg    sync.WaitGroup
	)
	for range min(batchWorkers, len(recs)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(recs) {
					return
				}
				r := &results[i]
				if err := first.Load(); err != nil {
					*r = Result{Err: fmt.Errorf("bus: publish all: not tried after: %w", b.publisher.undelivered(recs[i], kept, *err))}
					continue
				}
				e := r.Receipt.Event
				ctx, cancel := withDefaultTimeout(ctx, defaultTimeout)
				seq, err := b.publisher.deliver(ctx, recs[i])
				cancel()
				if err != nil {
					first.CompareAndSwap(nil, &err)
					err := b.publisher.undelivered(recs[i], kept, err)
					*r = Result{Err: fmt.Errorf("bus: publish %s %s: %w", e.Kind, e.ID, err)}
					continue
				}
				r.Receipt = Receipt{ID: e.ID, Sequence: seq, Time: time.Now(), Event: b.publisher.published(recs[i], e)}
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		n := 0
		for i := range results {
			if results[i].Err != nil {
				n++
			}
		}
		return results, fmt.Errorf("bus: publish all: %d of %d events failed, first: %w", n, len(events), *err)
	}
	return results, nil
}

func failed(n int, err error) ([]Result, error) {
	results := make([]Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results, err
}

// own fills in the issuer, or refuses another than the configured one. It judges e, once:
// before anything is waited for.
func (b *Bus) own(e revoke.Event) (revoke.Valid, error) {
	if e.Issuer != "" {
		if err := revoke.CheckIdentifier("issuer", e.Issuer); err != nil {
			return revoke.Valid{}, err // and not with what it is, as below
		}
	}
	switch {
	case b.cfg.Issuer == "":
		return revoke.Valid{}, errors.New("this Bus only follows: it was opened with an empty Config.Issuer")
	case e.Issuer == "":
		e.Issuer = b.cfg.Issuer
	case e.Issuer != b.cfg.Issuer:
		return revoke.Valid{}, fmt.Errorf("%w: issuer %q is not %q, which this Bus was opened for, to the letter", revoke.ErrInvalidEvent, e.Issuer, b.cfg.Issuer)
	}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.At.IsZero() {
		e.At = time.Now() // Until counts from here, however long it takes to reach the stream
	}
	return e.Valid()
}

// call admits a call and returns its context, which also ends when the Bus is
// closed. A timeout of zero adds none.
func (b *Bus) call(ctx context.Context, timeout time.Duration) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx) // before entering: it panics for nil, and Close would wait for ever
	leave, err := b.enter()
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	stop := context.AfterFunc(b.ctx, func() { cancel(ErrClosed) })
	release := context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, release = withDefaultTimeout(ctx, timeout)
	}
	return ctx, func() {
		release()
		stop()
		cancel(nil)
		leave()
	}, nil
}

func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
