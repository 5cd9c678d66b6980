package revoke

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// AnchorTimeout is how long the caller waits for the first record of an anchored
// subscription, once the log server has said anything of it, before it calls
// [Feed.Broken] with [ReasonRebuilding] and begins again. A server that says nothing
// is slow, or dead; that tells nothing about the log.
const AnchorTimeout = 2 * time.Second

// maxAnchorAttempts is how many anchored subscriptions may bring no record, of a server
// that had the chance, before the log is read again from its start.
const maxAnchorAttempts = 2

var (
	// ErrFollowed is returned by [List.NewFeed] for a List that is fed already, or is Local.
	ErrFollowed = errors.New("the list takes no feed")

	// ErrGap ends a subscription whose deliveries are not in unbroken order.
	ErrGap = errors.New("gap in the log's deliveries")

	// ErrAnchor ends a subscription that did not begin with the record applied last:
	// the log was rolled back or made anew. The next one starts at the beginning.
	ErrAnchor = errors.New("the log is not the one that was applied")
)

// A Feed is the protocol half of a replica: fed with the records of a totally
// ordered log, it applies events to its [List] and decides, from heartbeats, the
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
	list     *List
	closed   bool
	open     bool // the subscription of generation gen is unbroken
	gen      uint64
	next     uint64   // the delivery to come
	horizons Horizons // the longest that the log's metadata has named; zero: none yet
	old      uint64   // the log's last sequence when the subscription began
	bulk     bool     // what was in the log then is being read

	// cursor is the record applied last, where has says that there is one. What was
	// applied stays known whatever happens to the cursor.
	cursor    Record
	has       bool
	anchoring bool // the first record of the subscription must be the cursor
	attempts  int  // anchored subscriptions in a row that brought no record

	// provenFrom is when the last replay began: only a heartbeat sent after it shows
	// that the replay has reached the end of the log.
	provenFrom Instant

	seen     Instant       // when a heartbeat last counted, or was last sent
	patience time.Duration // after seen, until this member beats
	round    time.Duration // what an own heartbeat last took to come back
	due      bool          // beat at once

	fork fork

	mu     sync.Mutex
	sent   []sentBeat // guarded by mu: own heartbeats under way, oldest first
	awaits Instant    // guarded by mu: when the oldest was sent of those that this subscription may still bring; zero: none
	chance *rand.Rand // guarded by mu: seeded by the first own nonce; nil before

	log    *slog.Logger      // of messages
	logged map[trouble]*told // see trouble
	was    State             // as last logged
}

type sentBeat struct {
	nonce [16]byte
	at    Instant
}

// maxSent bounds the own heartbeats that may be under way; the oldest is given up.
const maxSent = 256

// A LogInfo is what the caller reads about the log before each subscription.
type LogInfo struct {
	Horizons     Horizons  // as fixed when the log was made; a lifetime ≤ 0: unreadable, and nothing is fresh; a MaxSkew ≤ 0: it says none, which means 2 s
	LastSequence uint64    // of the newest record; 0 for an empty log
	Time         time.Time // the log server's clock when it said so; zero: taken to be the local one
	Mirror       bool      // the log is a copy of another, which was read by its numbers
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

// A Fault says why a message of the log was not applied. Faults are counted, never
// fatal: one stray message must not stop a company.
type Fault uint8

const (
	FaultMalformed Fault = iota + 1 // no JSON, or version, issuer, kind or value missing, ambiguous or impossible
	FaultOversized                  // larger than any event may be
	FaultVersion                    // a version of the protocol to come
	FaultKind                       // a kind of event to come
	FaultSubject                    // issuer or kind differ from those of the subject
	FaultCritical                   // not understood, and marked critical: not fresh for a TokenLifetime
	FaultUnsigned                   // signature missing or wrong where one is asked for

	faults = int(FaultUnsigned) + 1
)

var faultNames = [faults]string{
	FaultMalformed: "malformed", FaultOversized: "oversized", FaultVersion: "unknown version", FaultKind: "unknown kind",
	FaultSubject: "not of its subject", FaultCritical: "unsupported critical event", FaultUnsigned: "unsigned",
}

func (f Fault) String() string {
	if int(f) < faults && f != 0 {
		return faultNames[f]
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}

// NewFeed returns the Feed of this List. It fails with [ErrFollowed] for a Local
// List and while another Feed is open.
func (l *List) NewFeed() (*Feed, error) {
	f, err := l.newFeed()
	if err == nil {
		l.takeState()
	}
	return f, err
}

func (l *List) newFeed() (*Feed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Local {
		return nil, fmt.Errorf("revoke: %w: it is Local", ErrFollowed)
	}
	if l.feed != nil {
		return nil, fmt.Errorf("revoke: %w: it has one already", ErrFollowed)
	}
	l.feed = &Feed{list: l, gen: l.gen, log: l.cfg.Logger, logged: map[trouble]*told{}}
	// From now on the stream's clock has a say in what may be forgotten.
	l.streamOffset.CompareAndSwap(math.MaxInt64, math.MinInt64)
	return l.feed, nil
}

// Begin starts a subscription and says where. now is read before the caller asks
// the log for anything but info.
func (f *Feed) Begin(now Instant, info LogInfo) Subscription {
	f.gen++
	f.open = !f.closed
	f.next = 1
	f.old = info.LastSequence
	f.setBulk(now, true)
	f.mu.Lock()
	f.awaits = Instant{} // lost with the last subscription, perhaps
	f.mu.Unlock()

	sub := Subscription{Generation: f.gen, Start: 1}
	f.anchoring = f.has && f.attempts < maxAnchorAttempts && info.LastSequence >= f.cursor.Sequence && !f.fork.suspect(info)
	if f.anchoring {
		// At the cursor, not after it: a log that was rolled back and written past the
		// cursor would resume silently, and the lost stretch would never be seen.
		sub.Start, sub.Anchored = f.cursor.Sequence, true
	} else {
		if f.has && info.LastSequence < f.cursor.Sequence {
			f.list.counters.anchorsLost.Add(1)
			f.list.cfg.Logger.Warn("revocation replica: the log ends before what was applied; reading it from its start", "applied", f.cursor.Sequence, "last", info.LastSequence)
		}
		f.has = false
		f.attempts = 0
		f.provenFrom = now
		f.list.counters.replays.Add(1)
	}
	if c := &f.list.cfg; info.Mirror && !f.fork.mirror && c.MaxStaleness < 5*c.HeartbeatInterval+c.MaxSkew {
		f.log.Warn("revocation replica: behind a mirror MaxStaleness should be at least 5 × HeartbeatInterval + MaxSkew: the replica will be stale now and then, on a normal day",
			"MaxStaleness", c.MaxStaleness, "least", 5*c.HeartbeatInterval+c.MaxSkew)
	}
	f.fork.begin(now, info, !f.anchoring)
	if f.due = !info.Mirror; info.Mirror {
		f.wait(now) // those at the origin beat first: behind a mirror only they prove
	}

	p := f.judged(*f.list.proof.Load(), info.Horizons)
	switch {
	case sub.Anchored:
		p.reason = ReasonNoHeartbeat
	case p.proven.IsZero():
		p.reason = ReasonReplaying
	default:
		p.reason = ReasonRebuilding
	}
	f.store(now, p)
	return sub
}

// Judge takes what is to be read of the log now, while a subscription lives: a log
// whose horizons can no longer be read, or are too short, is not fresh from here on, and
// one that was mended is again, as soon as heartbeats prove it. A mirror may have been
// made the log itself.
func (f *Feed) Judge(now Instant, info LogInfo) {
	if !f.closed {
		f.fork.mirror = info.Mirror
		f.store(now, f.judged(*f.list.proof.Load(), info.Horizons))
	}
}

// judged returns p with the verdict on h. What was known of longer horizons holds for
// what is kept, and for how long: metadata that shrinks or is lost un-revokes nothing.
func (f *Feed) judged(p proof, h Horizons) proof {
	h.MaxSkew = h.skew()
	known := f.list.horizons.Load().or(h)
	f.list.horizons.Store(&known)
	before := p.block
	switch {
	case h.TokenLifetime <= 0 || h.SessionLifetime <= 0:
		p.block = ReasonBadStream
	case f.list.cfg.TokenLifetime > h.TokenLifetime:
		p.block = ReasonHorizon
	case f.list.cfg.MaxSkew != h.MaxSkew:
		p.block = ReasonMaxSkew
	default:
		p.block = ReasonNone
	}
	if p.block != ReasonBadStream {
		f.horizons = f.horizons.or(h)
	}
	if p.block == ReasonHorizon && before != ReasonHorizon {
		f.list.cfg.Logger.Warn("revocation replica: the stream keeps revocations for a shorter time than tokens may live; lower Config.TokenLifetime",
			"stream", h.TokenLifetime, "list", f.list.cfg.TokenLifetime)
	}
	if p.block == ReasonMaxSkew && before != ReasonMaxSkew {
		f.list.cfg.Logger.Warn("revocation replica: the stream was made for another MaxSkew: cutoffs would not reach as far as verifiers let tokens be ahead",
			"stream", h.MaxSkew, "list", f.list.cfg.MaxSkew)
	}
	return p
}

// bounds returns the horizons by which an event's life is cut.
func (f *Feed) bounds() Horizons {
	if f.horizons == (Horizons{}) {
		return DefaultHorizons()
	}
	return f.horizons
}

// accept decides whether a record is the next of the present subscription. apply is
// false for one to be dropped, or already applied.
func (f *Feed) accept(now Instant, r Record) (apply bool, err error) {
	if !f.open || r.Generation != f.gen {
		return false, nil
	}
	if r.Delivery != f.next || f.has && !f.anchoring && r.Sequence <= f.cursor.Sequence {
		f.list.counters.gaps.Add(1)
		f.breakOff(now, ReasonRebuilding)
		return false, fmt.Errorf("revoke: delivery %d (sequence %d) where %d was due: %w", r.Delivery, r.Sequence, f.next, ErrGap)
	}
	f.next++
	if f.anchoring {
		f.anchoring = false
		if c := f.cursor; !r.same(&c) {
			f.has = false // replay: what is known stays known
			f.list.counters.anchorsLost.Add(1)
			f.breakOff(now, ReasonRebuilding)
			return false, fmt.Errorf("revoke: sequence %d: %w", c.Sequence, ErrAnchor)
		}
		f.attempts = 0
		return false, nil
	}
	return true, nil
}

// applied moves the cursor past a record, once its effect is in view.
func (f *Feed) applied(now Instant, r Record) {
	f.cursor, f.has = r, true
	f.fork.digest.Add(&r)
	if off := r.Time.UnixNano() - now.Mono; off > f.list.streamOffset.Load() {
		f.list.streamOffset.Store(off)
	}
	f.list.tidy(now)
	if f.bulk && r.Sequence >= f.old {
		f.setBulk(now, false)
		f.fork.caughtUp = f.fork.logTime(now)
	}
}

func (f *Feed) setBulk(now Instant, bulk bool) {
	if f.bulk != bulk {
		f.bulk = bulk
		f.list.setBulk(now, bulk)
	}
}

// Event applies an event of the log, bounded by its record's timestamp. unusable names
// members, as on the wire, that the message had and that are missing from e because they
// could not be used; what of e itself [Event.DropUnusable] leaves out joins them. They
// take the reading that revokes most. An event whose Issuer, Kind or Value is wrong
// counts as [FaultMalformed].
func (f *Feed) Event(now Instant, r Record, e Event, unusable ...string) error {
	received, err := e.Received(unusable...)
	if err != nil {
		return f.Fault(now, r, FaultMalformed, "value")
	}
	return f.Received(now, r, &received)
}

// Received is [Feed.Event] of an event that was judged already.
func (f *Feed) Received(now Instant, r Record, received *Received) error {
	e, unusable := received.event, received.unusable
	if e.Kind == 0 {
		return f.Fault(now, r, FaultMalformed, "value")
	}
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	l := f.list
	if !e.At.IsZero() && e.At.Sub(r.Time).Abs() > l.cfg.MaxSkew {
		l.counters.brokerClock.Add(1)
	}
	l.foreign(now, e.Issuer, f.log)
	if credentialIn(e.Value) != "" || l.issuers.find(e.Issuer) == nil && credentialIn(e.Issuer) != "" {
		l.counters.credentials.Add(1)
		f.trouble(now, r, trouble{member: credentialMember})
	}
	for _, name := range unusable {
		if i := optionalMember(name); i >= 0 {
			l.counters.unusable[i].Add(1)
			at := now
			l.counters.lastFault.Store(&at)
			f.trouble(now, r, trouble{member: name})
		}
	}
	e.assume(unusable, r.Time, f.bounds())
	e.clamp(r.Time, f.bounds())
	l.insert(now, &e)
	f.applied(now, r)
	return nil
}

// Fault takes note of a message that could not be applied. member names what was at
// fault in it, if that is known; it goes into the log, so it must not come from there.
func (f *Feed) Fault(now Instant, r Record, fault Fault, member ...string) error {
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	l := f.list
	if int(fault) >= faults || fault == 0 {
		fault = FaultMalformed
	}
	l.counters.faults[fault].Add(1)
	l.counters.lastFault.Store(&now)
	f.applied(now, r)
	if fault == FaultCritical {
		p := *l.proof.Load()
		from := r.Time
		if local := now.Time(); from.After(local) {
			from = local // a log server whose clock is ahead must not make it last
		}
		p.critical = max(p.critical, from.Add(l.cfg.TokenLifetime).UnixMilli())
		f.store(now, p)
	}
	f.trouble(now, r, trouble{fault, strings.Join(member, " ")})
	return nil
}

// Sent takes note of an own heartbeat. It must be called before the only attempt to
// publish it, with the clocks read before that.
func (f *Feed) Sent(now Instant, nonce [16]byte) {
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
func (f *Feed) take(nonce [16]byte) (at Instant, own bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.sent, func(s sentBeat) bool { return s.nonce == nonce })
	if i < 0 {
		return Instant{}, false
	}
	at = f.sent[i].at
	f.sent = slices.Delete(f.sent, i, i+1)
	f.awaits = Instant{}
	if i < len(f.sent) { // what was sent before it is lost
		f.awaits = f.sent[i].at
	}
	return at, true
}

// Heartbeat takes a heartbeat of the log. It is a fence: whatever stands before it
// in the log was handed over before.
func (f *Feed) Heartbeat(now Instant, r Record, hb Heartbeat) error {
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	f.applied(now, r)
	f.summarize(now, false)
	l := f.list
	at, own, usable := f.sentAt(now, r, hb)
	if own {
		hb.Digest = nil // which tells nothing new
		l.clockRead(at, now, r.Time)
	}
	content, covered := f.fork.compare(hb.Digest)
	if usable && (own || f.silencedBy(now, content, covered)) {
		delay := now.Time().Sub(hb.Time)
		if delay >= -l.cfg.MaxSkew-l.cfg.HeartbeatInterval && delay <= l.cfg.MaxSkew+l.cfg.HeartbeatInterval+f.congestion(now) && f.enough(now.Since(at)) {
			// Another's clock that is off proves little and silences nobody.
			f.wait(now)
			if !own {
				l.clockAgrees(now)
			}
		} else {
			l.counters.skewedHeartbeats.Add(1)
			if !own && f.fork.logTime(now).Sub(r.Time) <= l.cfg.MaxSkew+l.cfg.HeartbeatInterval {
				// Not late by itself, as what a mirror brings that catches up.
				f.hint(now, r, ReasonClockSkew)
			}
		}
	}
	live := usable && now.Since(at) <= wholeWithin
	if !usable || at.Mono < f.provenFrom.Mono || at.Mono > now.Mono {
		at = Instant{}
	}
	f.fork.mark(now, &r, at, live)
	switch {
	case content == differs:
		f.disputed(now, r)
		return nil
	case content == agrees:
		l.counters.agreed.Add(1)
	}
	if f.fork.gated() {
		at = covered.proves
	}
	p := *l.proof.Load()
	if at.IsZero() || !p.proven.IsZero() && at.Mono <= p.proven.Mono {
		return nil // P only moves forward
	}
	if f.fork.trusting(now) {
		f.log.Warn("revocation replica: behind a mirror, and no heartbeat carries a digest that counts: a mirror whose origin was made anew or restored would go unnoticed; have a member follow the stream itself, with a Signer where there is a Trust")
	}
	p.proven, p.reason = at, ReasonNone
	f.store(now, p)
	return nil
}

// sentAt returns the instant before which everything acknowledged stands before this
// heartbeat in the log. It is not usable if nothing is known of when it was sent.
func (f *Feed) sentAt(now Instant, r Record, hb Heartbeat) (at Instant, own, usable bool) {
	l := f.list
	delay := now.Time().Sub(hb.Time) // which saturates: a Time of any year is outside of reason, not around the corner
	at, own = f.take(hb.Nonce)
	switch {
	case own:
		// Needs no clock but ours: sent at, delivered since.
		f.round = now.Since(at)
	case delay < -l.cfg.MaxSkew:
		l.counters.futureHeartbeats.Add(1)
		f.hint(now, r, ReasonClockSkew)
		return at, own, false
	case r.Sequence <= f.old:
		// It stood in the log when the subscription began. For how long, only its sender's
		// clock tells: one that is ahead by as much makes it look new, and what stands
		// behind it is not applied.
		l.counters.skewedHeartbeats.Add(1)
		return at, own, false
	default:
		at = now.Add(-max(delay, 0) - l.cfg.MaxSkew)
	}
	return at, own, true
}

// silencedBy reports whether another's heartbeat makes an own one needless. A member that
// attests what the log holds goes on while nobody else attests the same, up to lately:
// behind a mirror a digest of old is worth as little as none.
func (f *Feed) silencedBy(now Instant, content verdict, covered mark) bool {
	if f.fork.attests && f.Digest() != (Digest{}) {
		return content == agrees && now.Since(covered.at) <= f.list.cfg.MaxStaleness/2
	}
	return content != differs
}

// disputed takes note of a heartbeat whose sender holds something else than this replica.
// It proves nothing and takes nothing away: if it is the replica that is mistaken, age
// shows it, and if it is the sender, others prove.
func (f *Feed) disputed(now Instant, r Record) {
	l := f.list
	l.counters.disputed.Add(1)
	p := *l.proof.Load()
	p.reason = ReasonFork
	f.store(now, p)
	if k := &f.fork; k.logged.IsZero() || now.Since(k.logged) >= time.Minute {
		k.logged = now
		l.cfg.Logger.Warn("revocation replica: a heartbeat's sender holds another log than this one; if it is read from a mirror, make that mirror anew",
			"sequence", r.Sequence, "mirror", k.mirror)
	}
}

// hint tells why nothing is proven, where nothing better is known.
func (f *Feed) hint(now Instant, at Record, r Reason) {
	// What was in the log when the replay began is old by nature.
	p := *f.list.proof.Load()
	if p.reason == ReasonNoHeartbeat || p.reason == ReasonReplaying && at.Sequence > f.old {
		p.reason = r
		f.store(now, p)
	}
}

// enough reports whether a proof of that age leaves time for the next heartbeat,
// which a silenced member may await for two intervals, and for its way. With clocks
// at their worst a heartbeat may prove too little for that, and then silences nobody.
func (f *Feed) enough(age time.Duration) bool {
	return age <= f.list.cfg.MaxStaleness-5*f.list.cfg.HeartbeatInterval/2
}

// wait begins the silence after a heartbeat: an interval and up to another, at
// random, so that of many members one beats and no election is needed. While own
// heartbeats take longer than an interval to come back, so long is the interval:
// many members who go on as if theirs were lost would keep an overloaded server so.
func (f *Feed) wait(now Instant) {
	f.seen = now
	d := max(f.list.cfg.HeartbeatInterval, f.bounded(f.round))
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
func (f *Feed) congestion(now Instant) time.Duration {
	f.mu.Lock()
	awaits := f.awaits
	f.mu.Unlock()
	if awaits.IsZero() {
		return f.bounded(f.round)
	}
	return f.bounded(max(f.round, now.Since(awaits)))
}

func (f *Feed) bounded(d time.Duration) time.Duration { return min(d, f.list.cfg.MaxStaleness/2) }

// BeatIn returns how long this member should wait before it sends a heartbeat; at 0
// it should send one now, and the waiting begins anew. It is at least a heartbeat
// interval while no subscription is open.
func (f *Feed) BeatIn(now Instant) time.Duration {
	if !f.open {
		return f.list.cfg.HeartbeatInterval
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
// With [ReasonRebuilding] an anchored subscription without its first record counts
// against the anchor: after two in a row the next one starts at the beginning. With
// any other reason, such as a connection lost or a server that is silent, it does not:
// reading all of the log again would only add to what made the server slow.
func (f *Feed) Broken(now Instant, reason Reason) {
	if f.closed {
		return
	}
	if f.open && f.anchoring && reason == ReasonRebuilding {
		f.attempts++
	}
	f.breakOff(now, reason)
}

func (f *Feed) breakOff(now Instant, reason Reason) {
	f.open = false
	f.anchoring = false
	f.setBulk(now, false)
	p := *f.list.proof.Load()
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
func (f *Feed) Tick(now Instant) {
	if !f.closed {
		f.store(now, *f.list.proof.Load())
		f.summarize(now, false)
	}
}

// Close ends the Feed; another may be made, also of another List with this one's state
// file. What is known stays known.
func (f *Feed) Close(now Instant) {
	if f.closed {
		return
	}
	f.breakOff(now, ReasonClosed)
	f.summarize(now, true)
	f.closed = true
	f.list.stateFile.leave()
	f.list.mu.Lock()
	defer f.list.mu.Unlock()
	f.list.feed = nil
	f.list.gen = f.gen
}

// store publishes p and logs a change of state.
func (f *Feed) store(now Instant, p proof) {
	l := f.list
	if old := l.proof.Load(); *old != p {
		l.proof.Store(&p)
	}
	s, r, age := p.state(l, now)
	if s == f.was {
		return
	}
	if s == StateFresh {
		l.everFresh.Store(true)
	}
	level := slog.LevelInfo
	if s == StateStale {
		level = slog.LevelWarn
	}
	l.cfg.Logger.Log(context.Background(), level, "revocation replica: state changed", "from", f.was.String(), "to", s.String(), "reason", r.String(), "age", age)
	f.was = s
}
