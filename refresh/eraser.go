package refresh

import (
	"context"
	"time"

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
			timer := time.NewTimer(-m.now().Since(x.due))
			select {
			case <-timer.C:
			case <-m.ctx.Done():
				timer.Stop()
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
	r, err := m.loadSession(ctx, sid)
	if err != nil {
		return
	}
	next := r.clone()
	next.prune(m.millis() - m.skew - finishTimeout.Milliseconds())
	if len(next.Steps) == len(r.Steps) {
		return
	}
	if _, err := m.saveSession(ctx, r.key, r.revision, next); err != nil {
		m.log.Debug("refresh: sealed successor not erased", "sid", sid, "error", err)
	}
}
