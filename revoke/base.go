package revoke

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// A base is the settled part of a List: for each kind a table and the filter before it,
// as large as what they hold asks for. It is immutable.
//
// Together the filters are as large as one, but those of kinds with few entries, which
// most are, stay in the processor's nearest cache.
type base struct {
	tables  [kinds]*table  // nil where there is no entry
	filters [kinds]*filter // the same, but of a base that is being replaced
	kinds   [kinds]int     // entries
	rate    float64        // the filters' measured false-positive rate, weighed by entries
	// sweepAt is the first moment, in unix seconds of the effective clock, at which a
	// quarter of the entries can be forgotten, or all of a few.
	sweepAt int64
}

var emptyBase = &base{sweepAt: math.MaxInt64}

// revokes reports whether a live entry for id revokes the token.
func (b *base) revokes(k Kind, id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	f := b.filters[k]
	return f != nil && f.mayContain(id) && b.tables[k].revokes(id, live, iat, sid, hasSid)
}

// count is how many entries b has.
func (b *base) count() (n int) {
	for _, of := range b.kinds {
		n += of
	}
	return n
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

func (b *base) bytes() int64 {
	n := int64(b.filterBytes())
	for _, t := range b.tables {
		if t != nil {
			n += t.bytes()
		}
	}
	return n
}

// entries walks all entries, by kind and then by identity.
func (b *base) entries(yield func(entry) bool) {
	for _, t := range b.tables {
		if t == nil {
			continue
		}
		for s := range t.all {
			for i := range s.hi {
				if !yield(t.entry(s, i)) {
					return
				}
			}
		}
	}
}

// minSweepEntries is the size below which forgetting a part saves nothing: a small base
// is swept when all of it has expired.
const minSweepEntries = 1024

// A layout is how a base is made.
type layout struct {
	density density
	segment int // how many entries a segment of a table has at most, in the mean
}

// compact returns a base with the entries of old and of the frozen memtables, but those
// that expired before live. It reads nothing that changes, so it runs beside
// readers and the writer.
//
// Meanwhile show is given bases in which more and more of old is replaced. Each, beside
// the frozen memtables, holds all that old does beside them and has not expired; its
// filters are those of old, which pass no key that only a frozen memtable has. Once such
// a base is in view what it replaces can be let go: only one segment and the filters are
// in memory twice.
func compact(old *base, frozen []*memtable, live uint32, how layout, show func(*base)) *base {
	var added [kinds]int // an upper bound: a key may be in several
	for _, r := range frozen {
		for i := range r.slots {
			if s := &r.slots[i]; s.h.Load() != 0 {
				added[s.kind()]++
			}
		}
	}
	b := *old
	old = nil // and with it what it alone holds
	var changed [kinds]bool
	for k := range b.tables {
		t := b.tables[k]
		if t == nil {
			if added[k] == 0 {
				continue
			}
			t = newTable(Kind(k))
		}
		from := func(list []entry, first, last uint64) []entry {
			if added[k] > 0 {
				for _, r := range frozen {
					list = r.between(list, Kind(k), first, last)
				}
			}
			return list
		}
		b.tables[k], changed[k] = t.merge(from, added[k], live, how.segment, func(part *table) {
			b.tables[k] = part
			shown := b
			show(&shown)
		})
	}
	b.index(live, how.density, changed)
	return &b
}

// newBase returns a base with the sums of entries, which it sorts.
func newBase(list []entry, how layout) *base {
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), compareDigests(a.id, b.id))
	})
	b := &base{}
	var changed [kinds]bool
	for len(list) > 0 {
		k := list[0].kind
		n := sort.Search(len(list), func(i int) bool { return list[i].kind > k })
		all := list[:n]
		from := func(list []entry, first, last uint64) []entry {
			i := sort.Search(len(all), func(i int) bool { return all[i].id.hi >= first })
			j := sort.Search(len(all), func(i int) bool { return all[i].id.hi > last })
			return append(list, all[i:j]...)
		}
		b.tables[k], changed[k] = newTable(k).merge(from, n, 0, how.segment, func(*table) {})
		list = list[n:]
	}
	b.index(0, how.density, changed)
	return b
}

// index counts what the tables hold and builds the filters of those that changed.
func (b *base) index(live uint32, d density, changed [kinds]bool) {
	for k, t := range b.tables {
		if !changed[k] {
			continue
		}
		b.kinds[k], b.filters[k] = t.len(), nil
		if b.kinds[k] == 0 {
			b.tables[k] = nil
			continue
		}
		b.filters[k] = newFilter(b.kinds[k], d)
		for s := range t.all {
			for i := range s.hi {
				b.filters[k].add(s.id(i))
			}
		}
	}
	b.rate = 0
	count := b.count()
	for k, f := range b.filters {
		if f != nil {
			b.rate += f.rate() * float64(b.kinds[k]) / float64(count)
		}
	}
	b.sweepAt = math.MaxInt64
	if count == 0 {
		return
	}
	var sample []uint32
	stride := max(count/4096, 1)
	seen := 0
	for _, t := range b.tables {
		if t == nil {
			continue
		}
		for s := range t.all {
			for i := range s.lo {
				if seen++; seen%stride == 0 {
					sample = append(sample, s.until(i))
				}
			}
		}
	}
	slices.Sort(sample)
	enough := sample[len(sample)/4]
	if count < minSweepEntries {
		enough = sample[len(sample)-1]
	}
	// Never at once again, whatever the sample says.
	b.sweepAt = max(int64(enough)+1, int64(live)+60)
}
