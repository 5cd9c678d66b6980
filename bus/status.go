package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/follow"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Status is what a [Member] knows at one moment: how fresh its List is, how the connection
// and the subscription fare, and what it has published. What was applied and refused is
// counted by [revoke.List.Stats]. A Member without a List leaves the rest but Connected,
// Server, Err, Closed and Publishing at zero.
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
	Err           error     // what ended the last subscription or attempt, also one to connect; nil while records arrive
	Closed        bool      // for good: the Member, or a connection of the caller; the List is never fresh again, and not ready

	StateFile revoke.StateFileStatus // of the List's state file, if it has one

	Announcement Announcement // whether roll calls of others can wait for this Member
	Publishing   Publishing   // what was published, and what is known of the stream
}

// Status returns the present status. It never waits for the network, whatever state the
// connection is in.
func (m *Member) Status() Status {
	if m.follower != nil {
		return m.complete(m.follower.Status())
	}
	if m.core.Context.Err() != nil {
		return m.complete(follow.Status{Closed: true})
	}
	conn := m.conn.State()
	s := follow.Status{Server: conn.Server, Connected: conn.Connected, Closed: m.conn.Over()}
	switch {
	case s.Closed:
		s.Err = m.conn.Ended()
	case !s.Connected:
		s.Err = m.conn.Disconnected()
	}
	return m.complete(s)
}

// complete returns a status with that part of a follower.
func (m *Member) complete(f follow.Status) Status {
	s := Status{
		Status: f.Status, Connected: f.Connected, Server: f.Server, Sequence: f.Sequence, Subscriptions: f.Subscriptions, Moves: f.Moves,
		Mirror: f.Mirror, Hazards: f.Hazards, Sent: f.Sent, Returned: f.Returned, Beater: f.Beater, BeatAt: f.BeatAt, Err: f.Err, Closed: f.Closed,
		StateFile: f.StateFile, Publishing: Publishing(m.core.publisher.Status()),
	}
	if m.follower != nil {
		s.Announcement = Announcement(m.follower.Announcement())
	}
	return s
}

// followers returns the part of a follower, as far as its changes are told.
func (s *Status) followers() follow.Status {
	return follow.Status{Status: s.Status, Connected: s.Connected, Server: s.Server, Hazards: s.Hazards, Err: s.Err, Closed: s.Closed}
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
	s, err := m.follower.WaitChange(ctx, from.followers())
	return m.complete(s), err
}

// Announcement tells whether package bus/rollcall can wait for this [Member].
type Announcement struct {
	Listening bool   // for questions
	Answered  uint64 // questions, each state of the answer
	Dropped   uint64 // answers not given: too many questions, or none of this protocol
	Err       error  // why it does not listen or its answers are refused; nil while all is well
}
