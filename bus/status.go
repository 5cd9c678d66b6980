package bus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Status is what a [Member] knows at one moment: how fresh its List is, how the connection
// and the subscription fare, and what it has published. What was applied and refused is
// counted by [revoke.List.Stats]. A Member without a List leaves the rest but Connected,
// Server, Closed and Publishing at zero.
type Status struct {
	revoke.Status

	Connected     bool      // to a server, when the Member last looked
	Server        string    // its URL, without credentials; empty while not connected
	Sequence      uint64    // place in the stream of the record applied last; 0: none
	Subscriptions uint64    // begun so far; more than one means that something broke
	Moves         uint64    // to another server, because this one brought no heartbeats
	Mirror        bool      // what is followed is a mirror, and heartbeats prove only what a digest covers
	Hazards       []string  // why the stream could forget events, as read at most a minute ago; see [ErrStreamUnsafe]
	Sent          uint64    // own heartbeats
	Returned      uint64    // of those, how many came back while they were the newest
	Beater        string    // name of the member whose heartbeat was applied last, as it says; unprintable characters are replaced
	BeatAt        time.Time // when that was; zero: none was
	Err           error     // what ended the last subscription or attempt; nil while records arrive
	Closed        bool      // for good: the Member, or a connection of the caller; the List is never fresh again, and not ready

	StateFile revoke.StateFileStatus // of the List's state file, if it has one

	Announcement Announcement // whether roll calls of others can wait for this Member
	Publishing   Publishing   // what was published, and what is known of the stream
}

// Status returns the present status. It never waits for the network, whatever state the
// connection is in.
func (m *Member) Status() Status {
	var s Status
	if m.follower != nil {
		s = m.follower.status()
	} else {
		seen := m.core.seen.Load()
		s.Server, s.Connected, s.Closed = seen.server, seen.server != "", seen.closed || m.core.Context.Err() != nil
	}
	return m.complete(s)
}

func (m *Member) complete(s Status) Status {
	if m.follower != nil {
		s.Announcement = m.follower.rollCall()
	}
	s.Publishing = Publishing(m.core.publisher.Status())
	return s
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

// Status takes no lock.
func (f *follower) status() Status {
	r := f.report.Load()
	s := Status{
		Status:        f.list.Status(revoke.Now()),
		Connected:     r.connected,
		Server:        r.server,
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
		s.Closed = true
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

// WaitChange waits until the status differs from that one in State, Reason,
// Degraded, Connected, Closed, Server, Hazards or Err, and returns the present one. Counters
// and ages do not count. To observe a Member, call it in a loop, with what it
// returned last:
//
//	for s := (bus.Status{}); ; {
//		var err error
//		if s, err = m.WaitChange(ctx, s); err != nil {
//			return err
//		}
//		gauge.Set(float64(s.State))
//	}
//
// An observer learns of levels, not of events: a slow one misses what has passed
// meanwhile, never what is. It holds up nobody. The error is ctx's, or [ErrClosed]
// when the Member is closed and nothing has changed since.
func (m *Member) WaitChange(ctx context.Context, from Status) (Status, error) {
	if m.follower == nil {
		return m.Status(), fmt.Errorf("bus: wait for a change: %w", errNoList)
	}
	s, err := m.follower.waitChange(ctx, from)
	return m.complete(s), err
}

func (f *follower) waitChange(ctx context.Context, from Status) (Status, error) {
	old := from.level()
	for {
		changed := f.changed.Wait()
		dead := false
		select {
		case <-f.dead:
			dead = true
		default:
		}
		s := f.status()
		if s.level() != old {
			return s, nil
		}
		if dead {
			return s, fmt.Errorf("bus: wait for a change: member %w", ErrClosed)
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
func (f *follower) agesIn(s *Status) time.Duration {
	if s.State != revoke.StateFresh {
		return time.Second
	}
	return min(max(f.list.Config().MaxStaleness-s.Age, 0)+time.Millisecond, time.Second)
}
