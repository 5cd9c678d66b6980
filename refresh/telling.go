package refresh

import (
	"context"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A telling is an event on its way to the services, published beside the work on the store,
// so that neither can starve the other.
type telling struct {
	event revoke.Event
	until int64 // tokens issued until then are covered, unix milliseconds
	done  chan struct{}
	err   error // once done is closed
}

// startTelling begins to publish, no matter who hangs up and what the store does.
func (m *Manager) startTelling(ctx context.Context, e revoke.Event, until int64) *telling {
	t := &telling{event: e, until: until, done: make(chan struct{})}
	publish := func() {
		t.err = m.publish(ctx, e)
		close(t.done)
	}
	if m.parallel <= 1 {
		publish()
	} else {
		go publish()
	}
	return t
}

// wait returns what became of it.
func (t *telling) wait() error {
	<-t.done
	return t.err
}

// soon reports whether the services know within a moment: then nothing has to be
// recorded as pending.
func (t *telling) soon() bool {
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	select {
	case <-t.done:
		return t.err == nil
	case <-timer.C:
		return false
	}
}

// covers reports whether it says all that a logout everywhere has to.
func (t *telling) covers(r *subject) bool {
	if t == nil || t.until != r.Cutoff || len(t.event.Keep) != len(r.Keep) {
		return false
	}
	for _, sid := range r.Keep {
		if !slices.Contains(t.event.Keep, sid) {
			return false
		}
	}
	return true
}

const (
	// headStart is how long the store waits for the bus: as a rule no event is pending,
	// and one write is enough.
	headStart = 250 * time.Millisecond

	// storeSays is how long the bus waits for the store to say whether a session exists.
	storeSays = time.Second

	// publishTimeout is what each publishing may take.
	publishTimeout = 15 * time.Second

	// endTimeout is what ending all sessions of a subject may take: 1,000 of them in a
	// store that takes 300 ms for each access.
	endTimeout = time.Minute
)

// What is published on the word of a caller alone, as the logout of a session that no record
// proves, is bounded: anyone who makes session ids up would otherwise fill the stream and the
// memory of every replica.
const (
	maxWords       = 1000 // at once
	wordsPerSecond = 20
)
