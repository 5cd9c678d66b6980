package follow

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	// barrierSpacing is the least time between two heartbeats sent for barriers. All
	// that are called meanwhile share one.
	barrierSpacing = 10 * time.Millisecond

	// lostBeats is how many own heartbeats in a row may fail to come back before it
	// is reported.
	lostBeats = 3

	// signTimeout bounds the wait for the signature of a heartbeat.
	signTimeout = 2 * time.Second

	// deniedPause is how long a member waits that was told that it may not send them.
	deniedPause = 30 * time.Second
)

// A beater sends a follower's heartbeats. It belongs to the follower's goroutine
// but for the atomic fields.
type beater struct {
	t        *transport.Transport
	cfg      *Config
	feed     *replica.Feed
	list     *revoke.List
	interval time.Duration
	applied  *atomic.Uint64 // place in the stream of the record applied last

	last     revoke.Instant // own heartbeat sent last
	nonce    [16]byte       // of that one
	lost     int            // sent since one came back
	reported bool           // that they are lost
	before   error          // the connection's last error before the last was sent
	denied   bool           // they are lost because this connection may not send them

	round  time.Duration  // that the last to come back has taken
	first  revoke.Instant // of those under way the oldest in this subscription; zero: none
	behind bool           // there is more of the log than was applied, as far as the server has said

	// wanted holds a token while a barrier waits for a heartbeat that is not sent
	// yet. Anyone who finds one there already shares it.
	wanted   chan struct{}
	asked    bool         // the token was taken, the heartbeat is not sent yet
	barriers atomic.Int64 // how many are waiting

	cut *cut // nil: no snapshot is to be taken

	signing atomic.Bool // a heartbeat waits for its signature

	sent, returned atomic.Uint64
}

// in returns when the next heartbeat is due, after sending one that is.
func (h *beater) in(now revoke.Instant) time.Duration {
	if h.cfg.NoHeartbeats || h.denied && mono(h.last, now) < deniedPause {
		h.asked = false
		return h.interval
	}
	if hold := h.hold(now); hold > 0 && !h.asked {
		return hold
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

// maxHold bounds the pause between heartbeats of a member that reads what came before
// its last.
const maxHold = 30 * time.Second

// hold returns for how long no other heartbeat is to be sent, because one is under way
// and more of the log stands before it: it is late because we are, and another would be
// later still. The pause is as long as that one has been under way: hundreds of members
// who read a long log, and beat meanwhile as if theirs had been lost, would write to it
// faster than they can read. At the end of the log, where one that has not come is lost,
// and where others' silence us, it does not apply.
func (h *beater) hold(now revoke.Instant) time.Duration {
	if !h.behind || h.first.IsZero() || h.list.Status(now).State == revoke.StateFresh {
		return 0
	}
	return min(max(mono(h.first, h.last), h.interval), maxHold) - mono(h.last, now)
}

// beat sends a heartbeat, once. Nobody learns whether it arrived until it comes back
// in the log: an acknowledgement would prove nothing.
func (h *beater) beat() {
	h.asked = false
	if h.cfg.NoHeartbeats || !h.t.Conn.IsConnected() {
		return
	}
	rand.Read(h.nonce[:]) // never fails
	denied := h.t.Refused(h.before, wire.HeartbeatSubject)
	h.before = h.t.NATS().LastError()
	h.last = revoke.Now()
	digest := h.feed.Digest()
	data, err := wire.EncodeHeartbeat(replica.Heartbeat{Nonce: h.nonce, Time: h.last.Time(), Name: h.cfg.Name, Digest: &digest})
	if err != nil {
		return // Open has tried it
	}
	h.feed.Sent(h.last, h.nonce)
	if h.first.IsZero() {
		h.first = h.last
	}
	msg := nats.NewMsg(wire.HeartbeatSubject)
	msg.Data = data
	msg.Header.Set(jetstream.MsgTTLHeader, h.life())
	if !h.send(msg) {
		return
	}
	h.sent.Add(1)
	h.lost++
	h.denied = h.lost > lostBeats && denied != nil
	if h.lost > lostBeats && !h.reported && (!h.behind || h.denied) {
		h.reported = true
		h.reportLost(denied)
	}
}

// life is the Nats-TTL of the heartbeat that is about to be sent.
func (h *beater) life() string {
	if h.cut == nil || h.cut.nonce != [16]byte{} {
		return wire.HeartbeatTTL
	}
	h.cut.nonce = h.nonce
	return h.cut.life.String()
}

// send publishes a heartbeat, and has it signed before by a member that can: where others
// have a Trust, its digest counts for nothing without. A Signer may take its time; one
// heartbeat waits for it, those that come meanwhile go unsigned.
func (h *beater) send(msg *nats.Msg) bool {
	publish := func() bool {
		err := h.t.NATS().PublishMsg(msg)
		if err != nil {
			h.t.Log.Debug("bus: heartbeat not sent", "error", err)
		}
		return err == nil
	}
	if h.cfg.Signer == nil || !h.signing.CompareAndSwap(false, true) {
		return publish()
	}
	leave, err := h.t.Enter()
	if err != nil {
		h.signing.Store(false)
		return false
	}
	go func() {
		defer leave()
		defer h.signing.Store(false)
		ctx, cancel := context.WithTimeout(h.t.Context, signTimeout)
		defer cancel()
		signature, err := h.cfg.Signer.Sign(ctx, msg.Subject, msg.Data)
		if err != nil {
			h.t.Log.Debug("bus: heartbeat not signed", "error", err)
		} else {
			msg.Header.Set(wire.SignatureHeader, signature)
		}
		publish()
	}()
	return true
}

// heard takes note of a heartbeat in the log.
func (h *beater) heard(now revoke.Instant, hb replica.Heartbeat) {
	if hb.Nonce == h.nonce && !h.last.IsZero() {
		h.round = mono(h.last, now)
		h.lost, h.reported, h.denied = 0, false, false
		h.first = revoke.Instant{}
		h.returned.Add(1)
	}
}

// want asks for a heartbeat that is sent after the call.
func (h *beater) want() {
	select {
	case h.wanted <- struct{}{}:
	default: // the one to come is after this call too
	}
}

// mono is the time between two readings of the clock that nobody sets.
func mono(from, to revoke.Instant) time.Duration { return time.Duration(to.Mono - from.Mono) }
