package follow

import (
	"errors"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// maxPatience bounds the pause between two steps, before jitter.
const maxPatience = 5 * time.Minute

// An escalation is what a follower does when no heartbeats arrive although it is
// connected and the server looks healthy, as an isolated one does: it moves to
// another server, then reads the log from its start, then goes on moving, ever more
// rarely. Each step costs the server at most one consumer, and the jitter keeps many
// followers of one server apart. It never ends. It belongs to the follower's
// goroutine.
type escalation struct {
	patience time.Duration  // before the first step
	quiet    revoke.Instant // since when nothing was heard; zero: not waiting
	step     int            // to be taken next
	wait     time.Duration  // from quiet until then
	rewound  bool           // the log was read from its start
	advances bool           // records that had more behind them were applied since the last step
}

// newEscalation returns the escalation of a List of that configuration, whose server is to
// say every idle that it is there. Its first step is taken while the replica is still
// fresh, late enough that the election of a leader, up to 9 s of silence, is mostly
// over, and after a server that says nothing at all has been noticed as such.
func newEscalation(cfg revoke.Config, idle time.Duration) escalation {
	return escalation{patience: max(3*cfg.HeartbeatInterval, cfg.MaxStaleness/2, 4*idle)}
}

// heard takes note of a heartbeat: there is nothing to mend.
func (l *escalation) heard(now revoke.Instant) {
	l.step, l.rewound, l.advances = 0, false, false
	l.restart(now)
}

// advance takes note of a record that is not the log's last.
func (l *escalation) advance(now revoke.Instant) {
	l.advances = true
	l.restart(now)
}

// restart begins the wait for the next step anew: the connection is new, or records
// still arrive, or there is a better reason than silence.
func (l *escalation) restart(now revoke.Instant) {
	l.quiet = now
	d := pause.Growing(l.patience, max(maxPatience, l.patience), l.step)
	l.wait = pause.Between(d, d+d/4)
}

// in returns how long until the next step is due.
func (l *escalation) in(now revoke.Instant) time.Duration {
	if l.quiet.IsZero() {
		l.restart(now)
	}
	return l.wait - mono(l.quiet, now)
}

// climb takes the step that is due and says which of them it is. To read the log from
// its start is none for who is still reading it, however slowly: what is missing lies
// ahead, and to begin again and again is to get nowhere.
func (l *escalation) climb(now revoke.Instant) (step int) {
	step = l.step
	l.step++
	if step >= rewind && !l.rewound {
		if l.rewound = !l.advances; l.rewound {
			step = rewind
		} else {
			step = rewind + 1
		}
	}
	l.advances = false
	l.restart(now)
	return step
}

var errNoBeats = errors.New("bus: connected, but no heartbeats arrive")

// rewind is the step that reads the log from its start.
const rewind = 1

// climb takes the next step of the escalation.
func (f *Follower) climb(now revoke.Instant) {
	silence := mono(f.escalation.quiet, now).Round(time.Millisecond)
	switch f.escalation.climb(now) {
	case rewind:
		f.feed.Rewind()
		f.last = revoke.Instant{} // it is we who want it so: no sign of a loss
		f.t.Log.Warn("bus: no heartbeats; reading the log from its start", "silence", silence)
	default:
		from, id := f.report.Load().server, f.t.NATS().ConnectedServerId()
		if err := f.t.Conn.Move(now, f.escalation.patience/2); err != nil {
			f.t.Log.Warn("bus: no heartbeats; subscribing anew", "silence", silence, "server", from, "reason", err)
			return
		}
		f.moves.Add(1)
		f.fled, f.flights = id, 0
		f.t.Log.Warn("bus: no heartbeats; moving to another server", "silence", silence, "from", from)
	}
}

// maxFlights bounds how often in a row a move is tried that leads back to the server
// that was left: two names of one, or another that is down.
const maxFlights = 4

// astray reports whether the connection is back at the server that was left, and
// sends it on.
func (f *Follower) astray() bool {
	if f.fled == "" || f.flights == maxFlights || f.t.NATS().ConnectedServerId() != f.fled {
		f.fled = ""
		return false
	}
	f.flights++
	return f.t.NATS().ForceReconnect() == nil
}
