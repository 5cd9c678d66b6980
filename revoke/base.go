package revoke

import (
	"math"
	"slices"
)

// A base is the settled part of a List: a table and the filters before it, sized
// for what they hold. It is immutable.
//
// Each kind has a filter of its own. Together they are as large as one, but those of
// kinds with few entries, which most are, stay in the processor's nearest cache.
type base struct {
	table   *table
	filters [kinds]*filter // nil where there is no entry
	count   int
	kinds   [kinds]int
	rate    float64 // the filters' measured false-positive rate, weighed by entries
	// sweepAt is the first moment, in unix seconds of the effective clock, at which a
	// quarter of the entries can be forgotten, or all of a few.
	sweepAt int64
}

var emptyBase = &base{table: newTable(0), sweepAt: math.MaxInt64}

// revokes reports whether a live entry for id revokes the token.
func (b *base) revokes(k Kind, id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	f := b.filters[k]
	return f != nil && f.mayContain(id) && b.table.revokes(id, live, iat, sid, hasSid)
}

func (b *base) filterBytes() int {
	n := 0
	for _, f := range b.filters {
		if f != nil {
			n += len(f.words) * 8
		}
	}
	return n
}

// minSweepEntries is the size below which forgetting a part saves nothing: a small base
// is swept when all of it has expired.
const minSweepEntries = 1024

// compact returns a base with the entries of old and of the frozen memtables, but those
// that expired before live. It reads nothing that changes, so it runs beside
// readers and the writer; while it runs, old and new are both in memory.
func compact(old *base, frozen []*memtable, live uint32, d density) *base {
	n := 0
	for i := range old.table.slots {
		if s := &old.table.slots[i]; s.u != 0 && s.until() >= live {
			n++
		}
	}
	for _, r := range frozen {
		for i := range r.slots { // an upper bound: a key may be in several
			if s := &r.slots[i]; s.h.Load() != 0 && s.until() >= live {
				n++
			}
		}
	}
	b := &base{table: newTable(n)}
	for i := range old.table.slots {
		if s := &old.table.slots[i]; s.u != 0 && s.until() >= live {
			b.table.move(*s, old.table.exceptions(i))
		}
	}
	for _, expired := range []bool{false, true} {
		for _, r := range frozen {
			for i := range r.slots {
				s := &r.slots[i]
				if s.h.Load() == 0 || (s.until() < live) != expired {
					continue
				}
				e := s.entry()
				if expired { // an expired summand still belongs to a sum that lives
					if _, lives := b.table.find(e.id); !lives {
						continue
					}
				}
				b.table.put(e)
			}
		}
	}
	b.index(live, d)
	return b
}

// index counts what the table holds and builds the filters for it.
func (b *base) index(live uint32, d density) {
	for i := range b.table.slots {
		if s := &b.table.slots[i]; s.u != 0 {
			b.count++
			b.kinds[s.kind()]++
		}
	}
	for k, n := range b.kinds {
		if n > 0 {
			b.filters[k] = newFilter(n, d)
		}
	}
	var sample []uint32
	stride := max(b.count/4096, 1)
	seen := 0
	for i := range b.table.slots {
		s := &b.table.slots[i]
		if s.u == 0 {
			continue
		}
		b.filters[s.kind()].add(s.id())
		if seen++; seen%stride == 0 {
			sample = append(sample, s.until())
		}
	}
	for k, f := range b.filters {
		if f != nil {
			b.rate += f.rate() * float64(b.kinds[k]) / float64(b.count)
		}
	}
	b.sweepAt = math.MaxInt64
	if b.count > 0 {
		slices.Sort(sample)
		enough := sample[len(sample)/4]
		if b.count < minSweepEntries {
			enough = sample[len(sample)-1]
		}
		// Never at once again, whatever the sample says.
		b.sweepAt = max(int64(enough)+1, int64(live)+60)
	}
}
