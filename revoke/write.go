package revoke

import (
	"math"
	"slices"
)

const (
	minRecent = 1 << 10
	maxRecent = 1 << 15
	// maxFrozen bounds what waits to be folded: a million events behind, the writer
	// waits for the fold. Only a replay could get there.
	maxFrozen = 32
)

// recentCapacity keeps the recent part small beside the base, for the readers'
// sake, and folds rare, for the writer's.
func recentCapacity(base int) int {
	return min(max(base/16, minRecent), maxRecent)
}

// insert adds a completed or clamped event. When it returns, every check that
// begins later sees the event.
func (l *List) insert(now Instant, e *Event) {
	n := newEntry(l.hasher, e)
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view.Load()
	for len(v.recents) > maxFrozen {
		l.folded.Wait()
		v = l.view.Load()
	}
	active := v.recents[len(v.recents)-1]
	if active.full() {
		active = l.freeze(now, v, recentCapacity(v.base.count))
	}
	active.put(n)
	if u := &l.kindUntil[n.kind]; n.until > u.Load() {
		u.Store(n.until)
	}
	l.versions.raise(n.id) // after the data: see versions
	l.counters.applied[n.kind].Add(1)
}

// freeze starts a new recent after the ones in v and has the others folded. The
// caller holds mu.
func (l *List) freeze(now Instant, v *view, capacity int) (active *recent) {
	active = newRecent(capacity)
	next := &view{base: v.base, recents: append(slices.Clone(v.recents), active)}
	l.view.Store(next)
	l.startFold(now)
	return active
}

// sweep folds in order to forget. Readers call it when it is due; it never waits.
func (l *List) sweep(now Instant) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	if l.effective(now) < l.sweepAt.Load() || l.folding {
		return
	}
	l.sweepAt.Store(math.MaxInt64) // until the fold sets the next
	if v := l.view.Load(); v.recents[len(v.recents)-1].used > 0 {
		l.freeze(now, v, minRecent) // the base is about to shrink
	} else {
		l.startFold(now)
	}
}

// startFold begins to fold all but the last recent, unless a fold is under way,
// which will go on with them. The caller holds mu.
func (l *List) startFold(now Instant) {
	if l.folding {
		return
	}
	l.folding = true
	go l.fold(clampSeconds(l.effective(now)))
}

// fold replaces the base until nothing is frozen. Each round takes what is frozen
// when it starts; events that arrive meanwhile go into the active recent, which
// stays. Entries that expired before live are forgotten.
func (l *List) fold(live uint32) {
	for {
		v := l.view.Load()
		frozen := v.recents[:len(v.recents)-1]
		b := fold(v.base, frozen, live, l.cfg.FalsePositiveRate)

		l.mu.Lock()
		l.counters.folds.Add(1)
		v = l.view.Load() // frozen is still its prefix: only fold removes
		l.view.Store(&view{base: b, recents: slices.Clone(v.recents[len(frozen):])})
		l.sweepAt.Store(b.sweepAt)
		l.folded.Broadcast()
		if len(v.recents)-len(frozen) == 1 {
			l.folding = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// clampSeconds fits unix seconds into a slot's 32 bits.
func clampSeconds(s int64) uint32 { return uint32(min(max(s, 0), math.MaxUint32)) }
