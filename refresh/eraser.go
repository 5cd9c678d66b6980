package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An eraser removes sealed successors from the store once their window has passed, and
// a retry that came within it has had finishTimeout for its own, if no later refresh
// has done so. It does what it can: what it forgets or fails to do,
// the next write to the session does.
type eraser struct {
	queue chan erasure
}

type erasure struct {
	sid string
	due revoke.Instant
}

// maxErasures bounds what waits; it is what an instance can refresh in ten seconds.
const maxErasures = 32 << 10

func (e *eraser) init() { e.queue = make(chan erasure, maxErasures) }

// note never waits.
func (e *eraser) note(sid string, due revoke.Instant) {
	select {
	case e.queue <- erasure{sid, due}:
	default:
	}
}

// erase is the eraser's goroutine. All windows are equally long, so the first noted is
// the first due.
func (m *Manager) erase() {
	for {
		select {
		case x := <-m.eraser.queue:
			if pause.Wait(m.ctx, -m.now().Since(x.due)) != nil {
				return
			}
			ctx, cancel := context.WithTimeout(m.ctx, finishTimeout)
			m.eraseSeals(ctx, x.sid)
			cancel()
		case <-m.ctx.Done():
			return
		}
	}
}

func (m *Manager) eraseSeals(ctx context.Context, sid string) {
	later := func() { m.eraser.note(sid, m.now().Add(finishTimeout)) }
	r, err := m.loadSession(ctx, sid)
	if err == nil && r.Ended == 0 && len(r.Steps) > 0 {
		err = m.readOutages(ctx, 5*time.Second)
	}
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && (r.Ended != 0 || len(r.Steps) == 0):
		return
	case err != nil:
		later()
		return
	}
	next, held, now, kept := r.clone(), m.held(r), m.millis()-finishTimeout.Milliseconds(), false
	next.prune(func(x *step) bool {
		if now <= x.Until+m.skew {
			return true // the client that has rotated since comes for it
		}
		kept, _ = m.window(x.Until-m.grace(), now, held)
		return kept
	})
	if kept { // for time that does not count
		later()
	}
	if len(next.Steps) == len(r.Steps) {
		return
	}
	if err := m.save(ctx, next); err != nil {
		m.log.Debug("refresh: sealed successor not erased", "sid", sid, "error", err)
	}
}
