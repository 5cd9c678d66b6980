package revoke

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// A prepared is an [Identity] made ready to be checked many times against one
// [List], for callers that keep verified tokens: its values are hashed already, and
// while no event arrives that could concern it, it is not looked up again. Its answers
// are those of [List.Check]. Its methods may be called concurrently.
type prepared struct {
	// What a check needs that does not look fits a cache line.
	list     *List
	clear    atomic.Uint64     // the sum of versions at which no live event revoked the token; 0: never
	iat      int64             // that cutoffs compare with, unix milliseconds
	counters [kinds - 1]uint16 // of the keys, in versions
	keys     uint8             // how many of counters there are

	issuedAt time.Time
	has      [kinds]bool
	ids      [kinds]digest // never positions: those change with the sizes of filter and tables
}

const preparedBytes = int(unsafe.Sizeof(prepared{}))

// prepare returns id prepared for l. It does not keep id or its strings.
func (l *List) prepare(id *Identity) *prepared {
	hash := l.digests(id.Issuer)
	p := &prepared{list: l, issuedAt: id.IssuedAt, iat: id.cutoffMillis()}
	for k := KindToken; k <= KindIssuer; k++ {
		if v := id.value(k); v != "" || k == KindIssuer {
			p.ids[k], p.has[k] = hash.of(k, v), true
			p.counters[p.keys] = counterOf(k, p.ids[k])
			p.keys++
		}
	}
	return p
}

// quiet reports whether Check would accept the token, whose checks have kept seen, under any
// policy: nothing has happened at all since the last one, and the List is fresh. It reads
// nothing of the token but seen.
func (l *List) quiet(now Instant, seen *atomic.Uint64) bool {
	r := l.replica
	proven := r.proof.Load() // before the look-up: see replica.proof
	eff := r.effective(now)
	all := r.versions.all.Load() + 1
	return seen.Load() == all && clampSeconds(eff) >= r.clearedAt.Load() && eff < r.sweepAt.Load() &&
		(r.cfg.Local || proven.fresh(l, now))
}

// Check is [List.Check] for what p was prepared from. Freshness is judged each time.
// It takes no lock and allocates nothing unless it refuses as stale. In seen it keeps the
// count of all events at which it found no live event that revokes the token, for quiet.
func (p *prepared) Check(now Instant, policy Policy, seen *atomic.Uint64) error {
	r := p.list.replica
	proven := r.proof.Load()         // before the look-up: see replica.proof
	all := r.versions.all.Load() + 1 // also before: see versions
	if k := p.lookup(r, now); k != 0 {
		return refusals[k]
	}
	if seen.Load() != all { // or another processor would have to fetch it again
		seen.Store(all)
	}
	if r.cfg.Local {
		return nil
	}
	return proven.judge(p.list, now, p.issuedAt, policy)
}

// lookup returns the kind of a live event that revokes the token, or 0.
func (p *prepared) lookup(l *replica, now Instant) Kind {
	eff := l.effective(now)
	if eff >= l.sweepAt.Load() {
		l.sweep(now)
	}
	live := clampSeconds(eff)

	// Before the look-up: what is applied from here on is not counted in it, so that the
	// next check looks again. And what is remembered before clearedAt, which is raised before
	// anything is.
	version := l.versions.sum(p)
	if p.clear.Load() == version && live >= l.clearedAt.Load() {
		return 0
	}
	v := l.view.Load()
	for k := KindToken; k <= KindIssuer; k++ {
		if !p.has[k] {
			continue
		}
		if u := l.kindUntil[k].Load(); u == 0 || u < live {
			continue
		}
		for _, r := range v.memtables {
			if r.revokes(p.ids[k], live, p.iat, p.ids[KindSession], p.has[KindSession]) {
				return k
			}
		}
		if v.base.revokes(k, p.ids[k], live, p.iat, p.ids[KindSession], p.has[KindSession]) {
			return k
		}
	}
	l.cleared(live)
	p.clear.Store(version)
	return 0
}

// cleared raises clearedAt to live.
func (l *replica) cleared(live uint32) {
	for {
		at := l.clearedAt.Load()
		if live <= at || l.clearedAt.CompareAndSwap(at, live) {
			return
		}
	}
}

// versions count the events applied, each where its key belongs, so that a token
// is looked up again when something happened to one of some thousand keys, its own
// among them, and not at every event of a busy day. Each kind has counters of its own: the
// many events of tokens and sessions leave those alone that all tokens of a client, a tenant,
// a key or an issuer read.
//
// The order is what makes skipping safe. Anyone who applies an event puts its data
// into the view first, then raises the counter of its key, then returns. Anyone who checks
// reads the counters first, then looks, and remembers what it read only if it found
// nothing. Counters only grow, so a sum that is the same later means that each of them
// is: every event for these keys whose counter was raised by now had been when they
// were first read, and its data was in view for the look-up. An event whose counter is
// not raised yet was not yet applied for anybody. The other way round, counter before
// data, a check between the two would remember a counter for data it has not seen.
//
// While nothing at all happens, one count is enough: all is raised after the counter, and
// read before the counters are. So what all has counted by then, they have, too.
//
// Time can revoke too, when a clock that had run ahead is set back and what had expired
// lives again. clearedAt is the latest moment that any remembered look-up was made for,
// raised before the sum is remembered, and read after it; an earlier one looks again. (A
// compaction may let an expired event count again, merged with a live one of its key. It
// need not, so nobody has to notice.)
type versions struct {
	all atomic.Uint64
	of  [versionCount]atomic.Uint64
}

// versionsOf are where those of a kind begin in versions, and how many there are, a power of two.
var versionsOf = [kinds]struct{ from, count uint16 }{
	KindToken: {0, 2048}, KindSession: {2048, 2048}, KindSubject: {4096, 2048},
	KindClient: {6144, 256}, KindTenant: {6400, 256}, KindKey: {6656, 256}, KindIssuer: {6912, 256},
}

const versionCount = 7168

// counterOf returns which counter is that of id, a key of kind k.
func counterOf(k Kind, id digest) uint16 {
	c := &versionsOf[k]
	return c.from + uint16(id.hi)&(c.count-1)
}

// raise is called with the data of the entry n in view. The caller raises all before it
// returns, for several entries at once.
func (v *versions) raise(n *entry) { v.of[counterOf(n.kind, n.id)].Add(1) }

// sum is never 0.
func (v *versions) sum(p *prepared) uint64 {
	sum := uint64(1)
	for _, i := range p.counters[:p.keys] {
		sum += v.of[i].Load()
	}
	return sum
}
