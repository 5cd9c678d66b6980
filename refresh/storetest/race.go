package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

const workers = 12

// Of all that replace one revision at a time, one succeeds (invariant 8).
func checkOneWins(e *env) error {
	k := e.key()
	var revision uint64
	for round := range 20 {
		type answer struct {
			value    string
			revision uint64
			err      error
		}
		answers := make([]answer, workers)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range answers {
			wg.Go(func() {
				a := &answers[i]
				a.value = fmt.Sprintf("round %d of %d", round, i)
				ctx, cancel := context.WithTimeout(e.ctx, timeout)
				defer cancel()
				<-start
				a.revision, a.err = e.all[i%len(e.all)].Save(ctx, k, []byte(a.value), revision, later())
			})
		}
		close(start)
		wg.Wait()
		var winner *answer
		for i := range answers {
			switch a := &answers[i]; {
			case a.err == nil && winner != nil:
				return fmt.Errorf("round %d: %q and %q both replaced revision %d", round, winner.value, a.value, revision)
			case a.err == nil:
				winner = a
			case !errors.Is(a.err, refresh.ErrConflict):
				return fmt.Errorf("round %d: %w; want one success and else conflicts", round, a.err)
			}
		}
		if winner == nil {
			return fmt.Errorf("round %d: nobody replaced revision %d", round, revision)
		}
		if err := e.expect(k, winner.value, winner.revision); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		revision = winner.revision
	}
	return nil
}

// What callers see, some of whom give up early, is explained by one order of writes.
func checkHistory(e *env) error {
	h := newRecorder(e, 4)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range 60 {
				h.step(w, time.Millisecond)
			}
		})
	}
	wg.Wait()
	return h.finish(false)
}

// The same while connections are cut, answers lost, servers killed.
func checkFaults(e *env) error {
	h := newRecorder(e, 6)
	var wg sync.WaitGroup
	var stop atomic.Bool
	defer wg.Wait()
	defer stop.Store(true) // also if Fault ends the test
	for w := range workers {
		wg.Go(func() {
			for !stop.Load() {
				h.step(w, 20*time.Millisecond)
			}
		})
	}
	for n := range e.cfg.Faults {
		before := h.saved.Load()
		e.cfg.Fault(e.t, n)
		// Work goes on before the next.
		tick := time.NewTicker(5 * time.Millisecond)
		for end := time.Now().Add(timeout); h.saved.Load() < before+workers; <-tick.C {
			if time.Now().After(end) {
				tick.Stop()
				return fmt.Errorf("nothing could be saved for %s after fault %d", timeout, n)
			}
		}
		tick.Stop()
	}
	stop.Store(true)
	wg.Wait()
	return h.finish(e.cfg.StaleReads)
}

// A recorder makes calls and writes down what came of them.
type recorder struct {
	e     *env
	keys  []string
	began time.Time
	saves atomic.Int64 // begun: gives each its value
	saved atomic.Int64 // done

	mu   sync.Mutex
	ops  []op                // guarded by mu
	seen []map[string]uint64 // by worker: the revision that it believes current
}

func newRecorder(e *env, keys int) *recorder {
	h := &recorder{e: e, began: time.Now()}
	for range keys {
		h.keys = append(h.keys, e.key())
	}
	for range workers {
		h.seen = append(h.seen, map[string]uint64{})
	}
	return h
}

func (h *recorder) record(o op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
}

// step makes one call of worker w, which now and then is given up within hurry.
func (h *recorder) step(w int, hurry time.Duration) {
	runtime.Gosched() // a Store in memory would let one worker do all its work at once
	key := h.keys[rand.IntN(len(h.keys))]
	d := timeout
	if rand.IntN(8) == 0 {
		d = rand.N(hurry)
	}
	ctx, cancel := context.WithTimeout(h.e.ctx, d)
	defer cancel()
	s := h.e.all[w%len(h.e.all)]
	known := h.seen[w]
	if rand.IntN(3) == 0 {
		if o := h.load(ctx, s, key, false); o.outcome == done || o.outcome == missing {
			known[key] = o.revision
		}
		return
	}
	value := fmt.Sprintf("value %d, by worker %d, and something that can tear: %d", h.saves.Add(1), w, h.saves.Load())
	o := op{save: true, key: key, base: known[key], value: value, invoked: time.Since(h.began)}
	n, err := s.Save(ctx, key, []byte(value), o.base, later())
	o.returned = time.Since(h.began)
	switch {
	case err == nil:
		o.outcome, o.revision, known[key] = done, n, n
		h.saved.Add(1)
	case errors.Is(err, refresh.ErrConflict):
		o.outcome = conflict
	}
	h.record(o)
	if err != nil { // as a caller would, find out by reading
		if o := h.load(ctx, s, key, false); o.outcome == done || o.outcome == missing {
			known[key] = o.revision
		} else {
			<-time.After(time.Millisecond) // a Store that fails at once is not hurried
		}
	}
}

func (h *recorder) load(ctx context.Context, s refresh.Store, key string, fresh bool) op {
	o := op{key: key, invoked: time.Since(h.began), fresh: fresh}
	r, err := s.Load(ctx, key)
	o.returned = time.Since(h.began)
	switch {
	case err == nil:
		o.outcome, o.value, o.revision = done, string(r.Value), r.Revision
	case errors.Is(err, refresh.ErrNotFound):
		o.outcome = missing
	}
	h.record(o)
	return o
}

// finish reads each record from every instance, and verifies all.
func (h *recorder) finish(stale bool) error {
	for _, key := range h.keys {
		if err := h.settle(key, stale); err != nil {
			return err
		}
	}
	return verify(h.ops, stale)
}

// settle reads until every instance has answered, and all the same if answers may be
// old for a while.
func (h *recorder) settle(key string, stale bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); time.Now().Before(end); <-tick.C {
		ops := make([]op, len(h.e.all))
		agree := true
		for i, s := range h.e.all {
			ctx, cancel := context.WithTimeout(h.e.ctx, timeout)
			ops[i] = h.load(ctx, s, key, false)
			cancel()
			agree = agree && ops[i].outcome != unknown && (!stale || ops[i].revision == ops[0].revision)
		}
		if !agree {
			continue
		}
		for _, o := range ops {
			o.fresh = true
			h.record(o)
		}
		return nil
	}
	return fmt.Errorf("key %s: the record could not be read for %s, or instances differ", key, timeout)
}
