package revoke

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/inside"
)

// Stats counts what a List holds and what happened to it since it was made.
type Stats struct {
	Entries map[Kind]int // live or not yet forgotten, by kind; a key still being compacted counts twice
	Bytes   int64        // of memory for filter and tables

	FalsePositiveRate float64 // the filter's, measured from the bits that are set
	Compactions       uint64  // how often a new base was built

	Applied map[Kind]uint64  // events applied, duplicates included
	Faults  map[Fault]uint64 // messages of the log that were not applied

	// Unusable counts optional members of events that could not be used, by their names
	// on the wire ("keep", "until"): null, of another type, seconds for milliseconds, too
	// long. The events count, with the reading that revokes most.
	Unusable map[string]uint64

	Credentials uint64 // events whose value or issuer has the form of a credential, see [ErrCredential]; applied, to no effect

	ForeignIssuer    uint64 // events for issuers that no verifier of this List uses
	MisspeltIssuer   uint64 // those of them whose issuer differs from a verifier's only as mistakes do: a slash, a scheme, the case
	BrokerClock      uint64 // events whose publisher's clock and stream timestamp differ by more than MaxSkew
	FutureHeartbeats uint64 // heartbeats from beyond MaxSkew ahead, which prove nothing
	SkewedHeartbeats uint64 // heartbeats too old on arrival to count as seen, or older than the subscription
	Gaps             uint64 // breaks in the chain of deliveries
	AnchorsLost      uint64 // times the log no longer held what was applied
	Replays          uint64 // subscriptions that started at the beginning of the log
	Agreed           uint64 // heartbeats whose sender holds the same log as this replica
	Disputed         uint64 // heartbeats whose sender holds another; see [ReasonFork]

	Watches int // tokens in use that are watched: of requests that go on, connections, streams
}

type counters struct {
	applied [kinds]atomic.Uint64
	faults  [faults]atomic.Uint64

	unusable unusables

	compactions, credentials, foreignIssuer, misspeltIssuer, brokerClock atomic.Uint64

	feed inside.Counters // raised by the feed

	lastFault    atomic.Pointer[Instant]
	lastMisspelt atomic.Pointer[Instant]
	foreignTold  atomic.Pointer[Instant] // when an event of a foreign issuer was logged last
}

// degraded reports whether a message was not understood, or meant for no issuer that
// there is, within the last while.
func (c *counters) degraded(now Instant, while time.Duration) bool {
	for _, last := range []*Instant{c.lastFault.Load(), c.lastMisspelt.Load()} {
		if last != nil && now.Since(*last) < while {
			return true
		}
	}
	return false
}

// foreign takes note of an event whose issuer no verifier of this List uses, where it
// knows any. Of a log that several systems share that is the normal case. An issuer
// that is almost a verifier's is a mistake: the event revokes nothing.
func (l *List) foreign(now Instant, issuer string, log *slog.Logger) {
	if l.issuers.find(issuer) != nil || l.issuers.empty() {
		return
	}
	c := &l.counters
	c.foreignIssuer.Add(1)
	if l.issuers.like(issuer) {
		c.misspeltIssuer.Add(1)
		at := now
		c.lastMisspelt.Store(&at)
	}
	last := c.foreignTold.Load()
	if last != nil && now.Since(*last) < time.Minute {
		return
	}
	if at := now; !c.foreignTold.CompareAndSwap(last, &at) {
		return
	}
	named := l.issuers.all()
	some := named[:min(len(named), 5)]
	log.Warn("revocation event of an issuer that no verifier here uses (perhaps a slash too many)", "issuer", shown(issuer), "verifiers", len(named), "such as", some)
}

// Stats counts what the List holds. It walks the memtable: for dashboards, not
// for every request.
func (l *List) Stats(now Instant) Stats {
	l.tidy(now)
	c := &l.counters
	v := l.view.Load()
	s := Stats{
		Entries: make(map[Kind]int, kinds-1), Applied: make(map[Kind]uint64, kinds-1), Faults: make(map[Fault]uint64),
		FalsePositiveRate: v.base.rate, Compactions: c.compactions.Load(),
		ForeignIssuer: c.foreignIssuer.Load(), MisspeltIssuer: c.misspeltIssuer.Load(),
		BrokerClock: c.brokerClock.Load(), FutureHeartbeats: c.feed.FutureHeartbeats.Load(),
		SkewedHeartbeats: c.feed.SkewedHeartbeats.Load(), Gaps: c.feed.Gaps.Load(),
		AnchorsLost: c.feed.AnchorsLost.Load(), Replays: c.feed.Replays.Load(),
		Unusable: c.unusable.read(), Credentials: c.credentials.Load(),
		Agreed: c.feed.Agreed.Load(), Disputed: c.feed.Disputed.Load(), Watches: int(l.watches.count.Load()),
	}
	for k := KindToken; k <= KindIssuer; k++ {
		s.Entries[k] = v.base.kinds[k]
		s.Applied[k] = c.applied[k].Load()
	}
	for f := FaultMalformed; int(f) < faults; f++ {
		if n := c.faults[f].Load(); n > 0 {
			s.Faults[f] = n
		}
	}
	s.Bytes = v.bytes()
	for _, r := range v.memtables {
		for i := range r.slots {
			if r.slots[i].h.Load() != 0 {
				s.Entries[r.slots[i].kind()]++
			}
		}
	}
	return s
}

// bytes is the memory that filters and tables take.
func (v *view) bytes() int64 {
	n := v.base.bytes()
	for _, r := range v.memtables {
		n += int64(len(r.slots))*memtableSlotBytes + int64(len(r.marks))*8
	}
	return n
}

// memtableSlotBytes is the size of a slot in memory; a test holds it to the type.
const memtableSlotBytes = 32
