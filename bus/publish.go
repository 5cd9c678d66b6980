package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
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

func (b *core) publishEvent(ctx context.Context, e revoke.Event) (Receipt, error) {
	r, _, err := b.publish(ctx, e)
	return r, err
}

func (b *core) publish(ctx context.Context, e revoke.Event) (Receipt, *record, error) {
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

func (b *core) publishAll(ctx context.Context, events []revoke.Event) ([]Result, error) {
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

// own fills in the issuer, or refuses one that is not configured. It judges e, once:
// before anything is waited for.
func (b *core) own(e revoke.Event) (replica.Valid, error) {
	if e.Issuer != "" {
		if err := replica.CheckIdentifier("issuer", e.Issuer); err != nil {
			return replica.Valid{}, err // and not with what it is, as below
		}
	}
	switch issuers := b.cfg.Issuers; {
	case len(issuers) == 0:
		return replica.Valid{}, errors.New("this Member only follows: its Config.Issuers is empty")
	case e.Issuer == "" && len(issuers) == 1:
		e.Issuer = issuers[0]
	case e.Issuer == "":
		return replica.Valid{}, fmt.Errorf("%w: it names no issuer, and this Member publishes for %d", revoke.ErrInvalidEvent, len(issuers))
	case !slices.Contains(issuers, e.Issuer):
		return replica.Valid{}, fmt.Errorf("%w: issuer %q is, to the letter, none of %q, which this Member publishes for", revoke.ErrInvalidEvent, e.Issuer, issuers)
	}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.At.IsZero() {
		e.At = time.Now() // Until counts from here, however long it takes to reach the stream
	}
	return replica.Validate(e)
}

// call admits a call and returns its context, which also ends when the Member is
// closed. A timeout of zero adds none.
func (b *core) call(ctx context.Context, timeout time.Duration) (context.Context, func(), error) {
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
