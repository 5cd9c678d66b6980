package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/inside"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// AnchorTimeout is how long the caller waits for the first record of an anchored
// subscription, once the log server has said anything of it, before it calls
// [Feed.Broken] with [revoke.ReasonRebuilding] and begins again. A server that says nothing
// is slow, or dead; that tells nothing about the log.
const AnchorTimeout = 2 * time.Second

// maxAnchorAttempts is how many anchored subscriptions may bring no record, of a server
// that had the chance, before the log is read again from its start.
const maxAnchorAttempts = 2

var (
	// ErrGap ends a subscription whose deliveries are not in unbroken order.
	ErrGap = errors.New("gap in the log's deliveries")

	// ErrAnchor ends a subscription that did not begin with the record applied last:
	// the log was rolled back or made anew. The next one starts at the beginning.
	ErrAnchor = errors.New("the log is not the one that was applied")
)

// A Feed is the protocol half of a replica: fed with the records of a totally
// ordered log, it applies events to its List and decides, from heartbeats, the
// chain of deliveries and the anchor, up to which instant the replica is proven.
// It does no input or output: package bus drives it over NATS.
//
// A Feed belongs to one goroutine; only [Feed.Sent] may be called from others.
//
// The life of a Feed is a sequence of subscriptions. Each starts with [Feed.Begin],
// which says where in the log it must start; its records are then handed over in
// the order of delivery. A record of an earlier subscription is dropped by its
// generation. When a method returns an error, the subscription is over: the caller
// cancels it and calls Begin again. The caller must end a subscription, with
// [Feed.Broken], whenever its transport reconnects or admits a loss.
type Feed struct {
	list      *revoke.List
	cfg       revoke.Config
	counters  *inside.Counters // of the List
	closed    bool
	open      bool // the subscription of generation gen is unbroken
	gen       uint64
	next      uint64           // the delivery to come
	retention revoke.Retention // the longest that the log's metadata has named; zero: none yet
	old       uint64           // the log's last sequence when the subscription began
	bulk      bool             // what was in the log then is being read

	// cursor is the record applied last, where has says that there is one. What was
	// applied stays known whatever happens to the cursor.
	cursor    Record
	has       bool
	anchoring bool // the first record of the subscription must be the cursor
	attempts  int  // anchored subscriptions in a row that brought no record

	// provenFrom is when the last replay began: only a heartbeat sent after it shows
	// that the replay has reached the end of the log.
	provenFrom revoke.Instant

	seen     revoke.Instant // when a heartbeat last counted, or was last sent
	patience time.Duration  // after seen, until this member beats
	round    time.Duration  // what an own heartbeat last took to come back
	due      bool           // beat at once

	fork fork

	mu     sync.Mutex
	sent   []sentBeat     // guarded by mu: own heartbeats under way, oldest first
	awaits revoke.Instant // guarded by mu: when the oldest was sent of those that this subscription may still bring; zero: none
	chance *rand.Rand     // guarded by mu: seeded by the first own nonce; nil before

	log    *slog.Logger      // of messages
	logged map[trouble]*told // see trouble
	was    revoke.State      // as last logged
}

type sentBeat struct {
	nonce [16]byte
	at    revoke.Instant
}

// maxSent bounds the own heartbeats that may be under way; the oldest is given up.
const maxSent = 256

// A LogInfo is what the caller reads about the log before each subscription.
type LogInfo struct {
	Retention    revoke.Retention // as fixed when the log was made; a lifetime ≤ 0: unreadable, and nothing is fresh; a MaxSkew ≤ 0: it says none, which means 2 s
	LastSequence uint64           // of the newest record; 0 for an empty log
	Time         time.Time        // the log server's clock when it said so; zero: taken to be the local one
	Mirror       bool             // the log is a copy of another, which was read by its numbers
}

// A Subscription says where to start reading.
type Subscription struct {
	Generation uint64 // to be handed back with every record
	Start      uint64 // sequence to start at, inclusive; records at and after it may have expired
	Anchored   bool   // the first record must be the one applied last, within [AnchorTimeout]
}

// A Record is the position of one message of the log.
type Record struct {
	Generation uint64        // of the subscription that delivered it
	Delivery   uint64        // counts the subscription's deliveries from 1, as the log server numbered them
	Sequence   uint64        // the message's place in the log; increasing, with holes
	Time       time.Time     // the log server's timestamp
	Life       time.Duration // after Time, until the server drops the message; 0: it never does

	// What the message says, headers aside, which servers edit: a later subscription
	// must begin with the very message that was applied last. Data must not change any
	// more; the Feed keeps the last record.
	Subject string
	Data    []byte
}

// same reports whether r and o are one message of one log.
func (r *Record) same(o *Record) bool {
	return r.Sequence == o.Sequence && r.Time.Equal(o.Time) && r.Subject == o.Subject && bytes.Equal(r.Data, o.Data)
}

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

// NewFeed returns the Feed of l. It fails with [revoke.ErrFollowed] for a Local
// List and while another Feed is open.
func NewFeed(l *revoke.List) (*Feed, error) {
	generation, err := in.Follow(l)
	if err != nil {
		return nil, err
	}
	cfg := l.Config()
	return &Feed{list: l, cfg: cfg, counters: in.Counters(l), gen: generation, log: cfg.Logger, logged: map[trouble]*told{}}, nil
}

// Begin starts a subscription and says where. now is read before the caller asks
// the log for anything but info.
func (f *Feed) Begin(now revoke.Instant, info LogInfo) Subscription {
	f.gen++
	f.open = !f.closed
	f.next = 1
	f.old = info.LastSequence
	f.setBulk(now, true)
	f.mu.Lock()
	f.awaits = revoke.Instant{} // lost with the last subscription, perhaps
	f.mu.Unlock()

	sub := Subscription{Generation: f.gen, Start: 1}
	f.anchoring = f.has && f.attempts < maxAnchorAttempts && info.LastSequence >= f.cursor.Sequence && !f.fork.suspect(info)
	if f.anchoring {
		// At the cursor, not after it: a log that was rolled back and written past the
		// cursor would resume silently, and the lost stretch would never be seen.
		sub.Start, sub.Anchored = f.cursor.Sequence, true
	} else {
		if f.has && info.LastSequence < f.cursor.Sequence {
			f.counters.AnchorsLost.Add(1)
			f.cfg.Logger.Warn("revocation replica: the log ends before what was applied; reading it from its start", "applied", f.cursor.Sequence, "last", info.LastSequence)
		}
		f.has = false
		f.attempts = 0
		f.provenFrom = now
		f.counters.Replays.Add(1)
	}
	if c := &f.cfg; info.Mirror && !f.fork.mirror && c.MaxStaleness < 5*c.HeartbeatInterval+c.MaxSkew {
		f.log.Warn("revocation replica: behind a mirror MaxStaleness should be at least 5 × HeartbeatInterval + MaxSkew: the replica will be stale now and then, on a normal day",
			"MaxStaleness", c.MaxStaleness, "least", 5*c.HeartbeatInterval+c.MaxSkew)
	}
	f.fork.begin(now, info, !f.anchoring)
	if f.due = !info.Mirror; info.Mirror {
		f.wait(now) // those at the origin beat first: behind a mirror only they prove
	}

	p := f.judged(f.proof(), info.Retention)
	switch {
	case sub.Anchored:
		p.reason = revoke.ReasonNoHeartbeat
	case p.proven.IsZero():
		p.reason = revoke.ReasonReplaying
	default:
		p.reason = revoke.ReasonRebuilding
	}
	f.store(now, p)
	return sub
}

// Judge takes what is to be read of the log now, while a subscription lives: a log
// whose retention can no longer be read, or is too short, is not fresh from here on, and
// one that was mended is again, as soon as heartbeats prove it. A mirror may have been
// made the log itself.
func (f *Feed) Judge(now revoke.Instant, info LogInfo) {
	if !f.closed {
		f.fork.mirror = info.Mirror
		f.store(now, f.judged(f.proof(), info.Retention))
	}
}

// judged returns p with the verdict on h. What was known of a longer retention holds for
// what is kept, and for how long: metadata that shrinks or is lost un-revokes nothing.
func (f *Feed) judged(p proof, h revoke.Retention) proof {
	h.MaxSkew = h.Slack() / 2 // also where h says none
	in.Extend(f.list, h)
	before := p.block
	switch {
	case h.TokenLifetime <= 0 || h.SessionLifetime <= 0:
		p.block = revoke.ReasonBadStream
	case f.cfg.TokenLifetime > h.TokenLifetime:
		p.block = revoke.ReasonRetention
	case f.cfg.MaxSkew != h.MaxSkew:
		p.block = revoke.ReasonMaxSkew
	default:
		p.block = revoke.ReasonNone
	}
	if p.block != revoke.ReasonBadStream {
		f.retention = revoke.Retention{
			TokenLifetime:   max(f.retention.TokenLifetime, h.TokenLifetime),
			SessionLifetime: max(f.retention.SessionLifetime, h.SessionLifetime),
			MaxSkew:         max(f.retention.MaxSkew, h.MaxSkew),
		}
	}
	if p.block == revoke.ReasonRetention && before != revoke.ReasonRetention {
		f.cfg.Logger.Warn("revocation replica: the stream keeps revocations for a shorter time than tokens may live; lower Config.TokenLifetime",
			"stream", h.TokenLifetime, "list", f.cfg.TokenLifetime)
	}
	if p.block == revoke.ReasonMaxSkew && before != revoke.ReasonMaxSkew {
		f.cfg.Logger.Warn("revocation replica: the stream was made for another MaxSkew: cutoffs would not reach as far as verifiers let tokens be ahead",
			"stream", h.MaxSkew, "list", f.cfg.MaxSkew)
	}
	return p
}

// bounds returns the retention by which an event's life is cut.
func (f *Feed) bounds() revoke.Retention {
	if f.retention == (revoke.Retention{}) {
		return revoke.DefaultRetention()
	}
	return f.retention
}

// accept decides whether a record is the next of the present subscription. apply is
// false for one to be dropped, or already applied.
func (f *Feed) accept(now revoke.Instant, r Record) (apply bool, err error) {
	if !f.open || r.Generation != f.gen {
		return false, nil
	}
	if r.Delivery != f.next || f.has && !f.anchoring && r.Sequence <= f.cursor.Sequence {
		f.counters.Gaps.Add(1)
		f.breakOff(now, revoke.ReasonRebuilding)
		return false, fmt.Errorf("revoke: delivery %d (sequence %d) where %d was due: %w", r.Delivery, r.Sequence, f.next, ErrGap)
	}
	f.next++
	if f.anchoring {
		f.anchoring = false
		if c := f.cursor; !r.same(&c) {
			f.has = false // replay: what is known stays known
			f.counters.AnchorsLost.Add(1)
			f.breakOff(now, revoke.ReasonRebuilding)
			return false, fmt.Errorf("revoke: sequence %d: %w", c.Sequence, ErrAnchor)
		}
		f.attempts = 0
		return false, nil
	}
	return true, nil
}

// applied moves the cursor past a record, once its effect is in view.
func (f *Feed) applied(now revoke.Instant, r Record) {
	f.cursor, f.has = r, true
	f.fork.digest.Add(&r)
	in.Heard(f.list, now, r.Time)
	if f.bulk && r.Sequence >= f.old {
		f.setBulk(now, false)
		f.fork.caughtUp = f.fork.logTime(now)
	}
}

func (f *Feed) setBulk(now revoke.Instant, bulk bool) {
	if f.bulk != bulk {
		f.bulk = bulk
		in.Reads(f.list, now, bulk)
	}
}

// Event applies an event of the log, bounded by its record's timestamp. unusable names
// members, as on the wire, that the message had and that are missing from e because they
// could not be used; what of e itself [revoke.Event.DropUnusable] leaves out joins them. They
// take the reading that revokes most. An event whose Issuer, Kind or Value is wrong
// counts as [revoke.FaultMalformed].
func (f *Feed) Event(now revoke.Instant, r Record, e revoke.Event, unusable ...string) error {
	received, err := Receive(e, unusable...)
	if err != nil {
		return f.Fault(now, r, revoke.FaultMalformed, "value")
	}
	return f.Received(now, r, &received)
}

// Received is [Feed.Event] of an event that was judged already.
func (f *Feed) Received(now revoke.Instant, r Record, received *Received) error {
	e, unusable := received.event, received.unusable
	if e.Kind == 0 {
		return f.Fault(now, r, revoke.FaultMalformed, "value")
	}
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	if in.Receive(f.list, now, r.Time, e, unusable, f.bounds(), f.log) {
		f.trouble(now, r, trouble{member: credentialMember})
	}
	for _, name := range unusable {
		if in.Reading(name) != "" {
			f.trouble(now, r, trouble{member: name})
		}
	}
	f.applied(now, r)
	return nil
}

// Fault takes note of a message that could not be applied. member names what was at
// fault in it, if that is known; it goes into the log, so it must not come from there.
func (f *Feed) Fault(now revoke.Instant, r Record, fault revoke.Fault, member ...string) error {
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	fault = in.Fault(f.list, now, fault)
	f.applied(now, r)
	if fault == revoke.FaultCritical {
		p := f.proof()
		from := r.Time
		if local := now.Time(); from.After(local) {
			from = local // a log server whose clock is ahead must not make it last
		}
		p.critical = max(p.critical, from.Add(f.cfg.TokenLifetime).UnixMilli())
		f.store(now, p)
	}
	f.trouble(now, r, trouble{fault, strings.Join(member, " ")})
	return nil
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
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	f.applied(now, r)
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

// hint tells why nothing is proven, where nothing better is known.
func (f *Feed) hint(now revoke.Instant, at Record, r revoke.Reason) {
	// What was in the log when the replay began is old by nature.
	p := f.proof()
	if p.reason == revoke.ReasonNoHeartbeat || p.reason == revoke.ReasonReplaying && at.Sequence > f.old {
		p.reason = r
		f.store(now, p)
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

// Broken ends the present subscription, or says why there is none. The proven
// instant stands still; age alone decides from here on, so that an ordinary
// reconnect makes nobody stale.
//
// With [revoke.ReasonRebuilding] an anchored subscription without its first record counts
// against the anchor: after two in a row the next one starts at the beginning. With
// any other reason, such as a connection lost or a server that is silent, it does not:
// reading all of the log again would only add to what made the server slow.
func (f *Feed) Broken(now revoke.Instant, reason revoke.Reason) {
	if f.closed {
		return
	}
	if f.open && f.anchoring && reason == revoke.ReasonRebuilding {
		f.attempts++
	}
	f.breakOff(now, reason)
}

func (f *Feed) breakOff(now revoke.Instant, reason revoke.Reason) {
	f.open = false
	f.anchoring = false
	f.setBulk(now, false)
	p := f.proof()
	p.reason = reason
	f.store(now, p)
}

// Rewind has the next subscription read the log from its start, whatever the anchor
// would say. What is known stays known, and the proven instant where it is. It ends
// the present subscription.
func (f *Feed) Rewind() {
	f.open, f.anchoring, f.has = false, false, false
}

// Tick logs a change of state that time alone has brought about, and what was to be
// logged later. A caller that has
// nothing to hand over calls it now and then.
func (f *Feed) Tick(now revoke.Instant) {
	if !f.closed {
		f.store(now, f.proof())
		f.summarize(now, false)
	}
}

// Close ends the Feed; another may be made, also of another List with this one's state
// file. What is known stays known.
func (f *Feed) Close(now revoke.Instant) {
	if f.closed {
		return
	}
	f.breakOff(now, revoke.ReasonClosed)
	f.summarize(now, true)
	f.closed = true
	in.Leave(f.list, f.gen)
}

// A proof is what a Feed has established about its replica.
type proof struct {
	proven   revoke.Instant // P: every event acknowledged before it is applied; zero: none
	block    revoke.Reason  // withholds freshness whatever the age; ReasonNone: nothing does
	critical int64          // an event not understood withholds it until then, unix milliseconds of the stream's time
	reason   revoke.Reason  // what a replica that is not fresh suffers from
}

// proof returns what was established last, by this Feed or one before.
func (f *Feed) proof() (p proof) {
	p.proven, p.block, p.reason, p.critical = in.Proof(f.list)
	return p
}

// store publishes p and logs a change of state.
func (f *Feed) store(now revoke.Instant, p proof) {
	s, r, age := in.Prove(f.list, now, p.proven, p.block, p.reason, p.critical)
	if s == f.was {
		return
	}
	level := slog.LevelInfo
	if s == revoke.StateStale {
		level = slog.LevelWarn
	}
	f.cfg.Logger.Log(context.Background(), level, "revocation replica: state changed", "from", f.was.String(), "to", s.String(), "reason", r.String(), "age", age)
	f.was = s
}

// What holds a List prints as one line, whatever the verb, as that does.

// String names the List that f feeds. It may be called by anyone.
func (f *Feed) String() string {
	if f == nil {
		return "replica.Feed(nil)"
	}
	if f.list == nil {
		return "replica.Feed{}"
	}
	return "replica.Feed{" + f.list.String() + "}"
}

// Format implements [fmt.Formatter]: every verb prints [Feed.String].
func (f *Feed) Format(s fmt.State, _ rune) { io.WriteString(s, f.String()) }

// LogValue implements [slog.LogValuer].
func (f *Feed) LogValue() slog.Value { return slog.StringValue(f.String()) }
