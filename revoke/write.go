package revoke

import (
	"math"
	"slices"
)

const (
	minMemtable = 1 << 10
	maxMemtable = 1 << 15
	// maxFrozen bounds what waits to be compacted: a million events behind, the writer
	// waits for the compaction. Only a replay could get there.
	maxFrozen = 32
)

// memtableCapacity keeps the memtable small beside the base, for the readers'
// sake, and compactions rare, for the writer's.
func memtableCapacity(base int) int {
	return min(max(base/16, minMemtable), maxMemtable)
}

// due reports whether a compaction of v has enough to do. It is as much work as the base is
// large, however little it adds. While a log is read, which brings as many entries in
// seconds as a company does in a year, it has to be half as large again. The caller
// holds mu.
func (l *replica) due(v *view) bool {
	frozen := v.memtables[:len(v.memtables)-1]
	if !l.bulk || len(frozen) > maxFrozen/2 {
		return len(frozen) > 0
	}
	n := 0
	for _, r := range frozen {
		n += r.used
	}
	return n > v.base.count()/2
}

// setBulk says that a log is being read from here on, or no longer.
func (l *List) setBulk(now Instant, bulk bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bulk = bulk
	if l.due(l.view.Load()) {
		l.startCompaction(now)
	}
}

// insert adds a completed event. When it returns, every check that begins later sees the
// event.
func (l *List) insert(now Instant, e *Event) {
	n := newEntry(&gatheredIssuer{hasher: l.hasher, issuer: e.Issuer}, e)
	l.prefilters[e.Kind].add(e.Value)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(now, &n)
	l.raise(n.kind, 1)
	l.watches.applied(now, &n) // after the data: see watches
}

// commit adds the events that the feed has gathered. When it returns, every check that
// begins later sees them.
func (l *List) commit(now Instant) {
	list := l.gathered.entries
	var counts [kinds]uint64
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range list {
		l.put(now, &list[i])
		counts[list[i].kind]++
	}
	for k, n := range counts {
		if n > 0 {
			l.raise(Kind(k), n)
		}
	}
	for i := range list {
		l.watches.applied(now, &list[i])
	}
	clear(list)
	l.gathered.entries = list[:0]
}

// put puts an entry into view, whose value the prefilter knows. The caller holds mu, and
// raises the counts of all events then.
func (l *List) put(now Instant, n *entry) {
	v := l.view.Load()
	for len(v.memtables) > maxFrozen {
		l.compacted.Wait()
		v = l.view.Load()
	}
	active := v.memtables[len(v.memtables)-1]
	if active.full() {
		active = l.freeze(v, memtableCapacity(v.base.count()))
		if l.due(l.view.Load()) {
			l.startCompaction(now)
		}
	}
	active.put(*n)
	if u := &l.kindUntil[n.kind]; n.until > u.Load() {
		u.Store(n.until)
	}
	l.versions.raise(n) // after the data: see versions
}

// raise counts events of one kind that are in view, and for whose keys the versions were
// raised. The caller holds mu.
func (l *List) raise(k Kind, n uint64) {
	l.versions.all.Add(n)
	l.counters.applied[k].Add(n)
}

// freeze starts a new memtable after the ones in v, which are to be compacted. The caller
// holds mu.
func (l *replica) freeze(v *view, capacity int) (active *memtable) {
	active = newMemtable(capacity)
	next := &view{base: v.base, memtables: append(slices.Clone(v.memtables), active)}
	l.view.Store(next)
	return active
}

// tidy sweeps if that is due. Whatever tells the List the time calls it, so that the
// memory of what has expired comes back also where nobody checks and nothing arrives.
func (l *replica) tidy(now Instant) {
	if l.effective(now) >= l.sweepAt.Load() {
		l.sweep(now)
	}
}

// sweep compacts in order to forget. Readers call it when it is due; it never waits.
func (l *replica) sweep(now Instant) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	if l.effective(now) < l.sweepAt.Load() || l.compacting {
		return
	}
	l.sweepAt.Store(math.MaxInt64) // until the compaction sets the next
	if v := l.view.Load(); v.memtables[len(v.memtables)-1].used > 0 {
		l.freeze(v, minMemtable) // the base is about to shrink
	}
	l.startCompaction(now)
}

// startCompaction begins to compact all but the last memtable, and to forget, unless a compaction is
// under way, which will go on with them. The caller holds mu.
func (l *replica) startCompaction(now Instant) {
	if l.compacting {
		return
	}
	l.compacting = true
	go l.compact(clampSeconds(l.effective(now)))
}

// compact replaces the base while that is due. Each round takes what is frozen
// when it starts; events that arrive meanwhile go into the active memtable, which
// stays. Entries that expired before live are forgotten.
func (l *replica) compact(live uint32) {
	for {
		v := l.view.Load()
		frozen := v.memtables[:len(v.memtables)-1]
		b := compact(v.base, frozen, live, l.layout, func(b *base) {
			next := &view{base: b} // made before, as below
			l.mu.Lock()
			next.memtables = l.view.Load().memtables
			l.view.Store(next)
			l.mu.Unlock()
		})
		// Made before: who allocates may have to help the garbage collector.
		next := &view{base: b, memtables: make([]*memtable, 0, maxFrozen+2)}

		l.mu.Lock()
		l.counters.compactions.Add(1)
		v = l.view.Load() // frozen is still its prefix: only compact removes
		next.memtables = append(next.memtables, v.memtables[len(frozen):]...)
		l.view.Store(next)
		if small := memtableCapacity(b.count()); !l.bulk && next.memtables[len(next.memtables)-1].capacity() > small+small/4 {
			// So much was forgotten that the active memtable is large beside what is left.
			l.freeze(next, small)
			next = l.view.Load()
		}
		l.sweepAt.Store(b.sweepAt)
		l.compacted.Broadcast()
		if !l.due(next) {
			l.compacting = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// clampSeconds fits unix seconds into a slot's 32 bits.
func clampSeconds(s int64) uint32 { return uint32(min(max(s, 0), math.MaxUint32)) }
