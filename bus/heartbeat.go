package bus

import (
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	// heartbeatTTL keeps heartbeats for so long that after an ordinary outage the
	// record applied last is still there to begin at.
	heartbeatTTL = "10m"

	// barrierSpacing is the least time between two heartbeats sent for barriers. All
	// that are called meanwhile share one.
	barrierSpacing = 10 * time.Millisecond

	// lostBeats is how many own heartbeats in a row may fail to come back before it
	// is reported.
	lostBeats = 3

	// deniedPause is how long a member waits that was told that it may not send them.
	deniedPause = 30 * time.Second
)

// A heart sends a follower's heartbeats. It belongs to the follower's goroutine
// but for the atomic fields.
type heart struct {
	b        *Bus
	feed     *revoke.Feed
	interval time.Duration

	last     revoke.Instant // own heartbeat sent last
	nonce    [16]byte       // of that one
	lost     int            // sent since one came back
	reported bool           // that they are lost
	before   error          // the connection's last error before the last was sent
	denied   bool           // they are lost because this connection may not send them

	// wanted holds a token while a barrier waits for a heartbeat that is not sent
	// yet. Whoever finds one there already shares it.
	wanted   chan struct{}
	asked    bool         // the token was taken, the heartbeat is not sent yet
	barriers atomic.Int64 // how many are waiting

	sent, returned atomic.Uint64
}

// in returns when the next heartbeat is due, after sending one that is.
func (h *heart) in(now revoke.Instant) time.Duration {
	if h.b.cfg.NoHeartbeats || h.denied && mono(h.last, now) < deniedPause {
		h.asked = false
		return h.interval
	}
	d := h.feed.BeatIn(now)
	if d <= 0 {
		h.beat()
		d = h.feed.BeatIn(now)
	}
	waiting := h.barriers.Load() > 0
	if !h.asked && !waiting {
		return d
	}
	// A barrier's heartbeat, or another in place of one that was lost.
	spacing := barrierSpacing
	if !h.asked {
		spacing = h.interval
	}
	rest := spacing - mono(h.last, now)
	if rest <= 0 {
		h.beat()
		rest = h.interval
	}
	return min(d, rest)
}

// beat sends a heartbeat, once. Nobody learns whether it arrived until it comes back
// in the log: an acknowledgement would prove nothing.
func (h *heart) beat() {
	h.asked = false
	if h.b.cfg.NoHeartbeats || !h.b.nc.IsConnected() {
		return
	}
	rand.Read(h.nonce[:]) // never fails
	denied := h.b.refused(h.before, HeartbeatSubject)
	h.before = h.b.nc.LastError()
	h.last = revoke.Now()
	data, err := encodeHeartbeat(revoke.Heartbeat{Nonce: h.nonce, Time: h.last.Time(), Name: h.b.cfg.Name})
	if err != nil {
		return // Open has tried it
	}
	h.feed.Sent(h.last, h.nonce)
	msg := nats.NewMsg(HeartbeatSubject)
	msg.Data = data
	msg.Header.Set(jetstream.MsgTTLHeader, heartbeatTTL)
	if err := h.b.nc.PublishMsg(msg); err != nil {
		h.b.log.Debug("bus: heartbeat not sent", "error", err)
		return
	}
	h.sent.Add(1)
	h.lost++
	h.denied = h.lost > lostBeats && denied != nil
	if h.lost > lostBeats && !h.reported {
		h.reported = true
		err := denied
		if err == nil {
			err = errors.New("the stream does not take them")
		}
		h.b.log.Warn("bus: own heartbeats do not come back; freshness depends on other members'", "error", err)
	}
}

// heard takes note of a heartbeat in the log.
func (h *heart) heard(hb revoke.Heartbeat) {
	if hb.Nonce == h.nonce && !h.last.IsZero() {
		h.lost, h.reported, h.denied = 0, false, false
		h.returned.Add(1)
	}
}

// want asks for a heartbeat that is sent after the call.
func (h *heart) want() {
	select {
	case h.wanted <- struct{}{}:
	default: // the one to come is after this call too
	}
}

// mono is the time between two readings of the clock that nobody sets.
func mono(from, to revoke.Instant) time.Duration { return time.Duration(to.Mono - from.Mono) }
