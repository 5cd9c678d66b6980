package revoke

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Sizes are what Stats multiplies and what the types really take.
func Sizes() (counted, real [3]uintptr) {
	return [3]uintptr{memtableSlotBytes, keptBytes, segmentBytes}, [3]uintptr{unsafe.Sizeof(memtableSlot{}), unsafe.Sizeof(kept{}), unsafe.Sizeof(segment{})}
}

// Compact merges all that was applied, forgets what expired, and waits for it.
func (l *List) Compact(now Instant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.freeze(l.view.Load(), minMemtable)
	l.startCompaction(now)
	for l.compacting {
		l.compacted.Wait()
	}
}

// WaitCompaction waits until no compaction is under way.
func (l *List) WaitCompaction() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.compacting {
		l.compacted.Wait()
	}
}

// FalsePositives counts, among n keys that were never added, those the filter lets
// through to the table.
func (l *List) FalsePositives(n int, key func(int) string) int {
	v := l.view.Load()
	hits := 0
	for i := range n {
		if v.base.filters[KindToken].mayContain(l.hasher.digest(KindToken, "absent", key(i))) {
			hits++
		}
	}
	return hits
}

// FilterBytes is the size of the base's filter.
func (l *List) FilterBytes() int { return l.view.Load().base.filterBytes() }

// Skips reports whether Check would answer from what is remembered.
func (p *Prepared) Skips(now Instant) bool {
	sum := p.clear.Load() == p.list.versions.sum(p.prepared)
	if p.list.quiet(now, &p.seen) && !sum {
		panic("it would skip by the count of all events, and must look by those of its keys")
	}
	return sum && clampSeconds(p.list.effective(now)) >= p.list.clearedAt.Load()
}

// Forget makes the next Check look.
func (p *Prepared) Forget() { p.clear.Store(0); p.seen.Store(0) }

// Frozen is how many memtables wait to be compacted.
func (l *List) Frozen() int { return len(l.view.Load().memtables) - 1 }

// ActiveCapacity is how many entries the memtable takes before it is compacted.
func (l *List) ActiveCapacity() int {
	memtables := l.view.Load().memtables
	return memtables[len(memtables)-1].capacity()
}

// HashKey is the key of the identities.
func (l *List) HashKey() [2]uint64 { return [2]uint64{l.hasher.k0, l.hasher.k1} }

// Held is how many entries are in memory, and HeldBytes what they take, without telling
// the List the time, as Stats does.
func (l *List) Held() (n int) {
	v := l.view.Load()
	n = v.base.count()
	for _, r := range v.memtables {
		n += r.used
	}
	return n
}

func (l *List) HeldBytes() int64 { return l.view.Load().bytes() }

// Watches are how many watch, the keys they watch, and how many of them were looked at
// because of events so far.
func (l *List) Watches() (count, keys int, touched uint64) {
	s := &l.watches
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.count.Load()), len(s.first), s.touched
}

// WaitTold waits until all are told of what was applied.
func (l *List) WaitTold() {
	s := &l.watches
	for {
		s.mu.Lock()
		running := s.running
		s.mu.Unlock()
		if !running {
			return
		}
		runtime.Gosched()
	}
}

// Prepared is that of package replica.
type Prepared struct {
	*prepared
	seen atomic.Uint64
}

func (l *List) Prepare(id *Identity) *Prepared { return &Prepared{prepared: l.prepare(id)} }

func (p *Prepared) Check(now Instant, policy Policy) error {
	if p.list.quiet(now, &p.seen) {
		return nil
	}
	return p.prepared.Check(now, policy, &p.seen)
}

// SettledHeap returns how many bytes the heap holds once it stands still: what earlier tests
// have left goes first.
func SettledHeap() int64 {
	for last := int64(0); ; {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what a pool held
		runtime.ReadMemStats(&m)
		now := int64(m.HeapAlloc)
		if max(now-last, last-now) < 1<<12 {
			return now
		}
		last = now
	}
}
