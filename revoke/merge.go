package revoke

import "slices"

// A source gives the entries that are to be added to a table and whose hi lies between
// first and last, the last included. It appends them to list, in any order, several of a
// key if it has them.
type source func(list []entry, first, last uint64) []entry

// merge returns a table with the entries of t and from, of which there are at most n, but
// those that expired before live, in segments of at most per in the mean; and whether
// anything is different from t.
//
// Each time that a large part is done, show is given a table in which that much of t is
// replaced: it holds all of t that has not expired. Where nobody else holds t any more,
// its memory comes back meanwhile.
func (t *table) merge(from source, n int, live uint32, per int, show func(*table)) (merged *table, changed bool) {
	n += t.living(live)
	var depth uint8
	for n>>depth > per {
		depth++
	}
	cur := table{kind: t.kind, depth: t.depth, segments: slices.Clone(t.segments)}
	for cur.depth < depth {
		cur.deepen()
	}
	width := 1 << (cur.depth - depth) // as many of the old segments make one
	w := segmentBuilder{kind: t.kind}
	var added []entry
	unshown := 0
	for p := range 1 << depth {
		first := uint64(p) << (64 - depth)
		last := first | ^uint64(0)>>depth
		added = sums(from(added[:0], first, last))
		old := cur.segments[p*width : (p+1)*width]
		if len(added) == 0 && width == 1 && old[0].stays(depth, live) {
			continue
		}
		w.mix(old, added, first, last, live)
		s := w.segment(depth)
		for i := range old {
			old[i] = s
		}
		changed = true
		if unshown += len(s.hi); unshown >= per/4 && p < 1<<depth-1 {
			unshown = 0
			show(&table{kind: cur.kind, depth: cur.depth, segments: slices.Clone(cur.segments)})
		}
	}
	for cur.depth > depth {
		cur.flatten()
	}
	return &cur, changed
}

// deepen chooses segments by one bit more, without changing any.
func (t *table) deepen() {
	next := make([]*segment, 0, 2*len(t.segments))
	for _, s := range t.segments {
		next = append(next, s, s)
	}
	t.segments, t.depth = next, t.depth+1
}

// flatten undoes it.
func (t *table) flatten() {
	next := make([]*segment, len(t.segments)/2)
	for i := range next {
		next[i] = t.segments[2*i]
	}
	t.segments, t.depth = next, t.depth-1
}

// stays reports whether s can stand in a table of that depth as it is, with nothing to
// forget.
func (s *segment) stays(depth uint8, live uint32) bool {
	if len(s.hi) > 0 && s.depth != depth {
		return false
	}
	for i := range s.lo {
		if s.until(i) < live {
			return false
		}
	}
	return true
}

// sums sorts entries by identity and adds up those of one key.
func sums(list []entry) []entry {
	slices.SortFunc(list, func(a, b entry) int { return compareDigests(a.id, b.id) })
	n := 0
	for _, e := range list {
		if n > 0 && list[n-1].id == e.id {
			list[n-1] = merge(list[n-1], e)
			continue
		}
		list[n] = e
		n++
	}
	clear(list[n:]) // points at what may be forgotten
	return list[:n]
}

// mix adds the entries of old, as far as their hi lies between first and last, and those
// of added, which are sums and do. An entry of old that expired before live counts no
// more; of those in added, which is why they come with their sum, it does if the sum lives.
func (w *segmentBuilder) mix(old []*segment, added []entry, first, last uint64, live uint32) {
	add := func(e *entry) {
		if e.until >= live {
			w.add(e)
		}
	}
	for j, s := range old {
		if j > 0 && s == old[j-1] {
			continue
		}
		i, end := 0, len(s.hi)
		if end > 0 && s.hi[0] < first {
			i = s.search(first)
		}
		w.grow(min(end-i, 2*segmentEntries) + len(added))
		for ; i < end && s.hi[i] <= last; i++ {
			for len(added) > 0 && added[0].id.hi <= s.hi[i] && compareDigests(added[0].id, s.id(i)) < 0 {
				add(&added[0])
				added = added[1:]
			}
			lives := s.until(i) >= live
			if len(added) > 0 && added[0].id.hi == s.hi[i] && added[0].id == s.id(i) {
				if lives {
					added[0] = merge(added[0], entry{id: added[0].id, kind: w.kind, before: s.before(i), until: s.until(i), keep: s.exceptions(i)})
				}
				continue // it is added in its turn
			}
			if lives {
				w.copy(s, i)
			}
		}
	}
	for i := range added {
		add(&added[i])
	}
}
