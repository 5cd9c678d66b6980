package follow

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Status is the part of bus.Status that a follower knows; that says what the fields mean.
type Status struct {
	revoke.Status

	Connected     bool
	Server        string
	Sequence      uint64
	Subscriptions uint64
	Moves         uint64
	Mirror        bool
	Hazards       []string
	Sent          uint64
	Returned      uint64
	Beater        string
	BeatAt        time.Time
	Err           error
	Closed        bool
	StateFile     revoke.StateFileStatus
}

// A report is what the follower's goroutine last said about its subscription;
// immutable.
type report struct {
	connected bool
	server    string
	hazards   []string
	mirror    bool
	beater    string
	beat      revoke.Instant
	err       error
}

// Status returns the present status. It takes no lock.
func (f *Follower) Status() Status {
	r, conn := f.report.Load(), f.t.Conn.State()
	s := Status{
		Status:        f.list.Status(revoke.Now()),
		Connected:     conn.Connected,
		Server:        conn.Server,
		Sequence:      f.sequence.Load(),
		Subscriptions: f.begun.Load(),
		Moves:         f.moves.Load(),
		Mirror:        r.mirror,
		Hazards:       slices.Clone(r.hazards),
		Sent:          f.beater.sent.Load(),
		Returned:      f.beater.returned.Load(),
		Beater:        r.beater,
		Err:           r.err,
		StateFile:     f.list.StateFile(),
	}
	if !r.beat.IsZero() {
		s.BeatAt = r.beat.Time()
	}
	select {
	case <-f.dead:
		s.Closed, s.Connected, s.Server = true, false, ""
	default:
	}
	return s
}

// A level is what of a status an observer is told about when it changes. Counters
// and ages are not part of it.
type level struct {
	state       revoke.State
	reason      revoke.Reason
	degraded    bool
	connected   bool
	closed      bool
	server, err string
	hazards     string
}

func (s *Status) level() level {
	l := level{state: s.State, reason: s.Reason, degraded: s.Degraded, connected: s.Connected, closed: s.Closed, server: s.Server, hazards: strings.Join(s.Hazards, "\n")}
	if s.Err != nil {
		l.err = s.Err.Error()
	}
	return l
}

func (f *Follower) WaitChange(ctx context.Context, from Status) (Status, error) {
	old := from.level()
	for {
		changed := f.changed.Wait()
		dead := false
		select {
		case <-f.dead:
			dead = true
		default:
		}
		s := f.Status()
		if s.level() != old {
			return s, nil
		}
		if dead {
			return s, fmt.Errorf("bus: wait for a change: member %w", transport.ErrClosed)
		}
		timer := time.NewTimer(f.agesIn(&s))
		select {
		case <-changed:
		case <-timer.C: // time alone has perhaps made it stale
		case <-f.dead:
		case <-ctx.Done():
			timer.Stop()
			return s, fmt.Errorf("bus: wait for a change: %w", context.Cause(ctx))
		}
		timer.Stop()
	}
}

// agesIn returns when to look again at a status that nobody changes: when it becomes
// stale, but after a second at the latest, because timers stand still in suspend.
func (f *Follower) agesIn(s *Status) time.Duration {
	if s.State != revoke.StateFresh {
		return time.Second
	}
	return min(max(f.list.Config().MaxStaleness-s.Age, 0)+time.Millisecond, time.Second)
}
