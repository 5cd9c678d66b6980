package replica

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

type sentBeat struct {
	nonce [16]byte
	at    revoke.Instant
}

// maxSent bounds the own heartbeats that may be under way; the oldest is given up.
const maxSent = 256

// A Heartbeat is a message whose only meaning is its place in the log: a replica that
// has applied it has applied every event acknowledged before it was sent by any member.
type Heartbeat struct {
	Nonce [16]byte  // 128 random bits
	Time  time.Time // the sender's clock when it was sent
	Name  string    // of the sender, for people

	// Digest is what its sender held of the log when it was sent, zero if it cannot tell;
	// nil for a version that knows no digests, or one that does not count.
	Digest *Digest
}

// Sent takes note of an own heartbeat. It must be called before the only attempt to
// publish it, with the clocks read before that.
func (f *Feed) Sent(now revoke.Instant, nonce [16]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sent) == maxSent {
		f.sent = slices.Delete(f.sent, 0, 1)
	}
	f.sent = append(f.sent, sentBeat{nonce, now})
	if f.awaits.IsZero() {
		f.awaits = now
	}
	if f.chance == nil {
		f.chance = rand.New(rand.NewPCG(binary.LittleEndian.Uint64(nonce[:8]), binary.LittleEndian.Uint64(nonce[8:])))
	}
}

// take returns when the own heartbeat with that nonce was sent, once.
func (f *Feed) take(nonce [16]byte) (at revoke.Instant, own bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.sent, func(s sentBeat) bool { return s.nonce == nonce })
	if i < 0 {
		return revoke.Instant{}, false
	}
	at = f.sent[i].at
	f.sent = slices.Delete(f.sent, i, i+1)
	f.awaits = revoke.Instant{}
	if i < len(f.sent) { // what was sent before it is lost
		f.awaits = f.sent[i].at
	}
	return at, true
}

// Heartbeat takes a heartbeat of the log. It is a fence: whatever stands before it
// in the log was handed over before.
func (f *Feed) Heartbeat(now revoke.Instant, r Record, hb Heartbeat) error {
	f.Flush()
	apply, err := f.accept(now, &r)
	if !apply {
		return err
	}
	f.applied(now, &r)
	f.summarize(now, false)
	at, own, usable := f.sentAt(now, r, hb)
	if own {
		hb.Digest = nil // which tells nothing new
		in.OwnBeat(f.list, at, now, r.Time)
	}
	content, covered := f.fork.compare(hb.Digest)
	if usable && (own || f.silencedBy(now, content, covered)) {
		delay := now.Time().Sub(hb.Time)
		if delay >= -f.cfg.MaxSkew-f.cfg.HeartbeatInterval && delay <= f.cfg.MaxSkew+f.cfg.HeartbeatInterval+f.congestion(now) && f.enough(now.Since(at)) {
			// Another's clock that is off proves little and silences nobody.
			f.wait(now)
			if !own {
				in.ClockAgrees(f.list, now)
			}
		} else {
			f.counters.SkewedHeartbeats.Add(1)
			if !own && f.fork.logTime(now).Sub(r.Time) <= f.cfg.MaxSkew+f.cfg.HeartbeatInterval {
				// Not late by itself, as what a mirror brings that catches up.
				f.hint(now, r, revoke.ReasonClockSkew)
			}
		}
	}
	live := usable && now.Since(at) <= wholeWithin
	if !usable || at.Mono < f.provenFrom.Mono || at.Mono > now.Mono {
		at = revoke.Instant{}
	}
	f.fork.mark(now, &r, at, live)
	switch {
	case content == differs:
		f.disputed(now, r)
		return nil
	case content == agrees:
		f.counters.Agreed.Add(1)
	}
	if f.fork.gated() {
		at = covered.proves
	}
	p := f.proof()
	if at.IsZero() || !p.proven.IsZero() && at.Mono <= p.proven.Mono {
		return nil // P only moves forward
	}
	if f.fork.trusting(now) {
		f.log.Warn("revocation replica: behind a mirror, and no heartbeat carries a digest that counts: a mirror whose origin was made anew or restored would go unnoticed; have a member follow the stream itself, with a Signer where there is a Trust")
	}
	p.proven, p.reason = at, revoke.ReasonNone
	f.store(now, p)
	return nil
}

// sentAt returns the instant before which everything acknowledged stands before this
// heartbeat in the log. It is not usable if nothing is known of when it was sent.
func (f *Feed) sentAt(now revoke.Instant, r Record, hb Heartbeat) (at revoke.Instant, own, usable bool) {
	delay := now.Time().Sub(hb.Time) // which saturates: a Time of any year is outside of reason, not around the corner
	at, own = f.take(hb.Nonce)
	switch {
	case own:
		// Needs no clock but ours: sent at, delivered since.
		f.round = now.Since(at)
	case delay < -f.cfg.MaxSkew:
		f.counters.FutureHeartbeats.Add(1)
		f.hint(now, r, revoke.ReasonClockSkew)
		return at, own, false
	case r.Sequence <= f.old:
		// It stood in the log when the subscription began. For how long, only its sender's
		// clock tells: one that is ahead by as much makes it look new, and what stands
		// behind it is not applied.
		f.counters.SkewedHeartbeats.Add(1)
		return at, own, false
	default:
		at = now.Add(-max(delay, 0) - f.cfg.MaxSkew)
	}
	return at, own, true
}

// silencedBy reports whether another's heartbeat makes an own one needless. A member that
// attests what the log holds goes on while nobody else attests the same, up to lately:
// behind a mirror a digest of old is worth as little as none.
func (f *Feed) silencedBy(now revoke.Instant, content verdict, covered mark) bool {
	if f.fork.attests && f.Digest() != (Digest{}) {
		return content == agrees && now.Since(covered.at) <= f.cfg.MaxStaleness/2
	}
	return content != differs
}

// disputed takes note of a heartbeat whose sender holds something else than this replica.
// It proves nothing and takes nothing away: if it is the replica that is mistaken, age
// shows it, and if it is the sender, others prove.
func (f *Feed) disputed(now revoke.Instant, r Record) {
	f.counters.Disputed.Add(1)
	p := f.proof()
	p.reason = revoke.ReasonFork
	f.store(now, p)
	if k := &f.fork; k.logged.IsZero() || now.Since(k.logged) >= time.Minute {
		k.logged = now
		f.cfg.Logger.Warn("revocation replica: a heartbeat's sender holds another log than this one; if it is read from a mirror, make that mirror anew",
			"sequence", r.Sequence, "mirror", k.mirror)
	}
}

// enough reports whether a proof of that age leaves time for the next heartbeat,
// which a silenced member may await for two intervals, and for its way. With clocks
// at their worst a heartbeat may prove too little for that, and then silences nobody.
func (f *Feed) enough(age time.Duration) bool {
	return age <= f.cfg.MaxStaleness-5*f.cfg.HeartbeatInterval/2
}

// wait begins the silence after a heartbeat: an interval and up to another, at
// random, so that of many members one beats and no election is needed. While own
// heartbeats take longer than an interval to come back, so long is the interval:
// many members who go on as if theirs were lost would keep an overloaded server so.
func (f *Feed) wait(now revoke.Instant) {
	f.seen = now
	d := max(f.cfg.HeartbeatInterval, f.bounded(f.round))
	f.patience = d + f.upTo(d)
	if f.fork.mirror {
		f.patience += 2 * d // who reads the log itself beats first
	}
}

// upTo draws from [0, d), from the own nonces alone: a Feed that is told the same
// does the same, so that a history can be lived through again.
func (f *Feed) upTo(d time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.chance == nil { // its first heartbeat is due, and draws anew when it comes back
		return d / 2
	}
	return time.Duration(f.chance.Int64N(int64(d)))
}

// congestion is what an own heartbeat last took to come back, or what one under way has
// taken so far, within reason. Others' may be as late without their clocks being off,
// and silence us all the same: many members who join a slow server at once would each
// take all the others for mistaken until their first came back, and go on beating.
func (f *Feed) congestion(now revoke.Instant) time.Duration {
	f.mu.Lock()
	awaits := f.awaits
	f.mu.Unlock()
	if awaits.IsZero() {
		return f.bounded(f.round)
	}
	return f.bounded(max(f.round, now.Since(awaits)))
}

func (f *Feed) bounded(d time.Duration) time.Duration { return min(d, f.cfg.MaxStaleness/2) }

// BeatIn returns how long this member should wait before it sends a heartbeat; at 0
// it should send one now, and the waiting begins anew. It is at least a heartbeat
// interval while no subscription is open.
func (f *Feed) BeatIn(now revoke.Instant) time.Duration {
	if !f.open {
		return f.cfg.HeartbeatInterval
	}
	if f.due || f.seen.IsZero() || now.Since(f.seen) >= f.patience {
		f.due = false
		f.wait(now)
		return 0
	}
	return f.patience - now.Since(f.seen)
}
