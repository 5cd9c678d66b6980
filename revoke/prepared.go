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
	list *List
	// quiet is the count of all events at which no live event revoked the token, and clear
	// the sum of versions; 0: never.
	quiet, clear atomic.Uint64
	iat          int64             // that cutoffs compare with, unix milliseconds
	counters     [kinds - 1]uint16 // of the keys, in versions
	keys         uint8             // how many of counters there are

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
			p.counters[p.keys] = counterOf(p.ids[k])
			p.keys++
		}
	}
	return p
}

// Check is [List.Check] for what p was prepared from. Freshness is judged each time.
// It takes no lock and allocates nothing unless it refuses as stale.
func (p *prepared) Check(now Instant, policy Policy) error {
	r := p.list.replica
	proven := r.proof.Load() // before the look-up: see replica.proof
	if k := p.lookup(r, now); k != 0 {
		return refusals[k]
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

	// Before the look-up: what is applied from here on is counted in neither, so that the
	// next check looks again. The count of all before the sum of a few: see versions.
	// And what is remembered before clearedAt, which is raised before anything is.
	all := l.versions.all.Load() + 1
	if p.quiet.Load() == all && live >= l.clearedAt.Load() {
		return 0
	}
	version := l.versions.sum(p)
	if p.clear.Load() == version && live >= l.clearedAt.Load() {
		p.quiet.Store(all)
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
	p.quiet.Store(all)
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
// among them, and not at every event of a busy day.
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

const versionCount = 2048

// counterOf returns which counter is that of id.
func counterOf(id digest) uint16 { return uint16(id.hi % versionCount) }

// raise is called with the data of the entry id in view.
func (v *versions) raise(id digest) {
	v.of[counterOf(id)].Add(1)
	v.all.Add(1)
}

// sum is never 0.
func (v *versions) sum(p *prepared) uint64 {
	sum := uint64(1)
	for _, i := range p.counters[:p.keys] {
		sum += v.of[i%versionCount].Load()
	}
	return sum
}
