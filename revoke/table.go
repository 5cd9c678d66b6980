package revoke

// A table is the exact part of a base for one kind: segments, each of the entries whose
// identities begin with the same bits. It is immutable.
//
// Identities are keyed hashes, so the segments are about equally large, whatever was
// revoked. A table is made of the one before it a segment at a time, in the order of the
// identities, each as large as its entries need: nothing grows by steps, no slot is
// empty, and memory is read and written in sequence. What is replaced can be let go at
// once, so that a new table takes little more memory than the old one while it is made.
type table struct {
	kind     Kind
	depth    uint8      // how many leading bits of hi choose a segment
	segments []*segment // 1<<depth; neighbours may be the same one
}

// segmentEntries is how many entries a segment has at most, in the mean.
const segmentEntries = 1 << 16

func newTable(kind Kind) *table {
	return &table{kind: kind, segments: []*segment{emptySegment}}
}

// at returns the segment where identities with hi belong.
func (t *table) at(hi uint64) *segment { return t.segments[hi>>(64-t.depth)] }

// find returns where the entry of id is.
func (t *table) find(id digest) (s *segment, i int, found bool) {
	s = t.at(id.hi)
	i, found = s.find(id)
	return s, i, found
}

// revokes reports whether a live entry for id revokes the token.
func (t *table) revokes(id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	s, i, found := t.find(id)
	return found && s.until(i) >= live && revokes(s.before(i), s.exceptions(i), iat, sid, hasSid)
}

// entry returns the entry at i of s, one of the table's segments.
func (t *table) entry(s *segment, i int) entry {
	return entry{id: s.id(i), kind: t.kind, before: s.before(i), until: s.until(i), keep: s.exceptions(i)}
}

// all walks the segments, in the order of the identities.
func (t *table) all(yield func(*segment) bool) {
	for i, s := range t.segments {
		if (i == 0 || s != t.segments[i-1]) && !yield(s) {
			return
		}
	}
}

func (t *table) len() (n int) {
	for s := range t.all {
		n += len(s.hi)
	}
	return n
}

func (t *table) bytes() (n int64) {
	for s := range t.all {
		n += s.bytes() + segmentBytes
	}
	return n + int64(len(t.segments))*8
}

// segmentBytes is the size of a segment's own fields; a test holds it to the type.
const segmentBytes = 152

// living is how many entries have not expired before live.
func (t *table) living(live uint32) (n int) {
	for s := range t.all {
		for _, u := range s.lo {
			if uint32(u>>32) >= live {
				n++
			}
		}
	}
	return n
}
