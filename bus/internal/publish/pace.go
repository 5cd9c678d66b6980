package publish

import (
	"errors"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// A way is how events are sent.
type way uint8

const (
	inBatches way = iota
	oneByOne
	ways
)

const (
	// sample is how many events are sent one way to measure it. One by one fewer do where
	// that is so much slower.
	sample      = 512
	smallSample = inFlight
	muchSlower  = 4

	// paceAge is for how long a measurement counts.
	paceAge = 5 * time.Minute

	// batchPause is for how long no batch is tried after so many failures in a row, or one
	// answer that the stream takes none.
	batchPause  = time.Minute
	maxFailures = 3
)

// A pace knows which way is the faster one. That depends on how often the server writes to
// its disk, which it tells nobody: so it is measured. The zero pace knows nothing yet.
type pace struct {
	mu       sync.Mutex
	epoch    uint64         // guarded by mu: of the connection that was measured
	measured [ways]measured // guarded by mu
	size     int            // guarded by mu: messages that the server takes in a batch; 0: maxBatch
	failures int            // guarded by mu: batches in a row that were not acknowledged
	resume   time.Time      // guarded by mu: no batches until then
}

// A measured is how long so many events took.
type measured struct {
	events int
	time   time.Duration
	at     time.Time
}

func (m measured) each() time.Duration { return m.time / time.Duration(max(m.events, 1)) }

// next returns how to send how many of so many events over the connection of that epoch.
func (g *pace) next(events int, epoch uint64) (way, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(epoch)
	batch, single := &g.measured[inBatches], &g.measured[oneByOne]
	enough := single.events >= sample || single.events >= smallSample && single.each() > muchSlower*batch.each()
	switch {
	case time.Now().Before(g.resume):
		return oneByOne, events
	case batch.events > 0 && single.events > 0 && enough:
		if single.each() < batch.each() {
			return oneByOne, events
		}
		return inBatches, events
	case events < 4*sample: // too few to be worth it
		return inBatches, events
	case batch.events < sample:
		return inBatches, sample
	case single.events < smallSample:
		return oneByOne, smallSample
	}
	return oneByOne, sample - single.events
}

// took takes note of how long so many events took that way.
func (g *pace) took(w way, events int, d time.Duration, epoch uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(epoch)
	m := &g.measured[w]
	switch {
	case m.events+events <= sample:
		m.events, m.time = m.events+events, m.time+d
	case events >= sample: // the newest says most
		m.events, m.time = events, d
	default:
		return
	}
	m.at = time.Now()
}

// forget lets go of what is old, or was measured over another connection. The caller holds mu.
func (g *pace) forget(epoch uint64) {
	for w := range g.measured {
		if m := &g.measured[w]; epoch != g.epoch || time.Since(m.at) > paceAge {
			*m = measured{}
		}
	}
	g.epoch = epoch
}

// most is how many messages a batch may hold.
func (g *pace) most() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.size == 0 {
		return maxBatch
	}
	return g.size
}

// batches reports whether batches may be tried.
func (g *pace) batches() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !time.Now().Before(g.resume)
}

// failed takes note of why a batch of so many was not acknowledged; nil: it was.
func (g *pace) failed(err error, messages int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.failures = 0
		return
	case errors.Is(err, ErrFull): // one by one some may still fit
		return
	case jsadmin.IsCode(err, jsadmin.CodeBatchTooLarge) && messages/2 >= minBatch:
		g.size = messages / 2
		return
	case errors.Is(err, errNoBatches), jsadmin.IsCode(err, jsadmin.CodeBatchesDisabled, jsadmin.CodeBatchTooLarge):
		g.failures = maxFailures
	default:
		g.failures++
	}
	if g.failures >= maxFailures {
		g.failures, g.resume = 0, time.Now().Add(batchPause)
	}
}
