package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
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
	gathered  bool             // there are events that are not applied yet
	taken     revoke.Instant   // when the last of them was
	stored    time.Time        // their latest timestamp
	old       uint64           // the log's last sequence when the subscription began
	bulk      bool             // what was in the log then is being read

	// cursor is the record applied last, where has says that there is one. What was
	// applied stays known whatever happens to the cursor.
	cursor    Record
	has       bool
	anchoring bool // the first record of the subscription must be the cursor
	attempts  int  // anchored subscriptions in a row that brought no record
	place     place

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
	f.Flush()
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
		f.resumes(now)
	} else {
		if f.has && info.LastSequence < f.cursor.Sequence {
			f.counters.AnchorsLost.Add(1)
			f.cfg.Logger.Warn("revocation replica: the log ends before what was applied; reading it from its start", "applied", f.cursor.Sequence, "last", info.LastSequence)
		}
		f.has = false
		f.place = place{}
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

// accept decides whether a record is the next of the present subscription. apply is
// false for one to be dropped, or already applied.
func (f *Feed) accept(now revoke.Instant, r *Record) (apply bool, err error) {
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
		if c := f.cursor; !f.isCursor(r) {
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

// pass moves the cursor past a record.
func (f *Feed) pass(r *Record) {
	f.cursor, f.has = *r, true
	f.fork.digest.Add(r)
}

// applied moves the cursor past a record that is no event.
func (f *Feed) applied(now revoke.Instant, r *Record) {
	f.pass(r)
	f.heard(now, r.Time)
}

// heard is called when what the log stored up to then is in view.
func (f *Feed) heard(now revoke.Instant, stored time.Time) {
	in.Heard(f.list, now, stored)
	if f.bulk && f.cursor.Sequence >= f.old {
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
	err := f.Gather(now, &r, received)
	f.Flush()
	return err
}

// Gather takes an event like [Feed.Received], to be applied by the next [Feed.Flush]: of
// many that come at once, each takes less then. What is no event, and the end of the
// subscription, flush before. Gather keeps neither received nor its texts.
func (f *Feed) Gather(now revoke.Instant, r *Record, received *Received) error {
	if !received.judged {
		return f.Fault(now, *r, revoke.FaultMalformed, "value")
	}
	apply, err := f.accept(now, r)
	if !apply {
		return err
	}
	if !f.gathered || r.Time.After(f.stored) {
		f.stored = r.Time
	}
	f.gathered, f.taken = true, now
	if in.Gather(f.list, now, r.Time, &received.event, received.unusable, f.bounds(), f.log) {
		f.trouble(now, r, trouble{member: credentialMember})
	}
	for _, name := range received.unusable {
		if in.Reading(name) != "" {
			f.trouble(now, r, trouble{member: name})
		}
	}
	f.pass(r)
	return nil
}

// Flush applies the events that were gathered. When it returns, every check that begins
// later sees them.
func (f *Feed) Flush() {
	if f.gathered {
		f.gathered = false
		in.Commit(f.list, f.taken)
		f.heard(f.taken, f.stored)
	}
}

// Fault takes note of a message that could not be applied. member names what was at
// fault in it, if that is known; it goes into the log, so it must not come from there.
func (f *Feed) Fault(now revoke.Instant, r Record, fault revoke.Fault, member ...string) error {
	f.Flush()
	apply, err := f.accept(now, &r)
	if !apply {
		return err
	}
	fault = in.Fault(f.list, now, fault)
	f.applied(now, &r)
	if fault == revoke.FaultCritical {
		p := f.proof()
		from := r.Time
		if local := now.Time(); from.After(local) {
			from = local // a log server whose clock is ahead must not make it last
		}
		p.critical = max(p.critical, from.Add(f.cfg.TokenLifetime).UnixMilli())
		f.store(now, p)
	}
	f.trouble(now, &r, trouble{fault, strings.Join(member, " ")})
	return nil
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
	f.Flush()
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
	f.Flush()
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
