package publish

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	// inFlight is how many events PublishAll has in flight that are sent one by one.
	inFlight = 64

	// batchesInFlight is how many batches it has: while the server stores one, the next is
	// made.
	batchesInFlight = 2
)

// A Result is bus.Result.
type Result struct {
	Receipt revoke.Receipt
	Err     error
}

func (p *Publisher) PublishAll(ctx context.Context, events []revoke.Event) ([]Result, error) {
	ctx, done, err := p.t.Call(ctx, 0)
	if err != nil {
		return failed(len(events), fmt.Errorf("bus: publish all: %w", err))
	}
	defer done()
	a := &all{p: p, recs: make([]*record, len(events)), results: make([]Result, len(events))}
	for i, e := range events {
		valid, err := p.own(e)
		if err == nil {
			a.results[i].Receipt.Event, a.recs[i], err = p.prepare(ctx, valid, limitBatch)
		}
		if err != nil {
			return failed(len(events), fmt.Errorf("bus: publish all: event %d of %d: %w", i+1, len(events), err))
		}
	}
	a.kept = p.keep(a.recs...)
	a.deliver(ctx)
	if err := a.first.Load(); err != nil {
		n := 0
		for i := range a.results {
			if a.results[i].Err != nil {
				n++
			}
		}
		return a.results, fmt.Errorf("bus: publish all: %d of %d events failed, first: %w", n, len(events), *err)
	}
	return a.results, nil
}

func failed(n int, err error) ([]Result, error) {
	results := make([]Result, n)
	for i := range results {
		results[i].Err = err
	}
	return results, err
}

// all is one call of PublishAll. What concerns one event is written by who delivers it.
type all struct {
	p       *Publisher
	recs    []*record
	results []Result
	kept    bool                  // all are in the outbox
	first   atomic.Pointer[error] // the failure that stops the rest
}

// deliver brings all of them into the stream, or says of each why not.
func (a *all) deliver(ctx context.Context) {
	for done := 0; done < len(a.recs); {
		way, n := a.p.pace.next(len(a.recs)-done, a.p.t.Conn.Epoch())
		began := time.Now()
		switch way {
		case inBatches:
			a.inBatches(ctx, done, done+n)
		case oneByOne:
			a.oneByOne(ctx, done, done+n, nil, inFlight)
		}
		if a.first.Load() == nil {
			a.p.pace.took(way, n, time.Since(began), a.p.t.Conn.Epoch())
		}
		done += n
	}
}

// inBatches delivers records [from, to).
func (a *all) inBatches(ctx context.Context, from, to int) {
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	next := func() (i, j int) {
		mu.Lock()
		defer mu.Unlock()
		i, from = from, a.cut(from, to)
		return i, from
	}
	for range min(batchesInFlight, (to-from+minBatch-1)/minBatch) {
		wg.Go(func() {
			for {
				i, j := next()
				if i == j {
					return
				}
				a.batch(ctx, i, j)
			}
		})
	}
	wg.Wait()
}

// cut returns where the batch ends that begins there.
func (a *all) cut(from, to int) int {
	most, size := a.p.pace.most(), int64(0)
	for i := from; i < to; i++ {
		if size += a.recs[i].size(); i-from == most || i > from && size > maxBatchBytes {
			return i
		}
	}
	return to
}

// batch delivers records [i, j), as one batch if that goes.
func (a *all) batch(ctx context.Context, i, j int) {
	var stand []sending
	if a.goesAsOne(i, j) {
		first, at, err := a.p.deliverBatch(ctx, a.recs[i:j])
		a.p.pace.failed(err, j-i)
		if err == nil {
			for k := i; k < j; k++ {
				a.delivered(k, first+uint64(k-i))
			}
			return
		}
		stand = at
		a.p.t.Log.Debug("bus: a batch was not acknowledged; its events are published one by one", "stream", a.p.t.StreamName, "events", j-i, "error", err)
	}
	a.oneByOne(ctx, i, j, stand, inFlight/batchesInFlight)
}

// goesAsOne reports whether records [i, j) may be sent as one batch.
func (a *all) goesAsOne(i, j int) bool {
	if j-i < minBatch || a.first.Load() != nil || !a.p.pace.batches() {
		return false
	}
	for _, rec := range a.recs[i:j] {
		if !a.p.batchable(rec) {
			return false
		}
	}
	return true
}

// oneByOne delivers records [from, to), so many at a time; stand says how far each has come,
// if it is not nil.
func (a *all) oneByOne(ctx context.Context, from, to int, stand []sending, workers int) {
	var (
		next atomic.Int64
		wg   sync.WaitGroup
	)
	for range min(workers, to-from) {
		wg.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= to-from {
					return
				}
				var at sending
				if stand != nil {
					at = stand[n]
				}
				a.single(ctx, from+n, at)
			}
		})
	}
	wg.Wait()
}

// single delivers record i, which has come as far as that.
func (a *all) single(ctx context.Context, i int, at sending) {
	r, rec := &a.results[i], a.recs[i]
	if err := a.first.Load(); err != nil {
		*r = Result{Err: fmt.Errorf("bus: publish all: not tried after: %w", unsure(at.perhaps, a.p.undelivered(rec, a.kept, *err)))}
		return
	}
	ctx, cancel := transport.WithDefaultTimeout(ctx, transport.DefaultTimeout)
	seq, err := a.p.deliverFrom(ctx, rec, at)
	cancel()
	if err != nil {
		a.first.CompareAndSwap(nil, &err)
		err := a.p.undelivered(rec, a.kept, err)
		e := r.Receipt.Event
		*r = Result{Err: fmt.Errorf("bus: publish %s %s: %w", e.Kind, e.ID, err)}
		return
	}
	a.delivered(i, seq)
}

// delivered writes the receipt of record i, which was acknowledged with that sequence.
func (a *all) delivered(i int, seq uint64) {
	r := &a.results[i]
	e := r.Receipt.Event
	r.Receipt = revoke.Receipt{ID: e.ID, Sequence: seq, Time: time.Now(), Event: a.p.published(a.recs[i], e)}
}
