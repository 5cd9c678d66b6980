package revoke

import "math/bits"

// Layout of a slot's second word, from the top: 44 bits of cutoff, one that says
// whether exceptions exist, three of kind and 16 of identity. The third word holds
// 32 bits of expiry and 32 of identity. With the 64 of the first word a slot knows
// 112 bits of its key (invariant 2).
const (
	cutoffBits = 44
	keepBit    = 1 << 19
	kindShift  = 16
	kindMask   = 7
)

// A slot is one entry of a table, packed. A zero third word means empty: no entry
// expires in 1970.
type slot struct {
	h, b, u uint64
}

func pack(e *entry) slot {
	s := slot{
		h: e.id.hi,
		b: uint64(e.before)<<20 | uint64(e.kind)<<kindShift | e.id.lo>>48,
		u: uint64(e.until)<<32 | e.id.lo&idLow,
	}
	if e.keep != nil {
		s.b |= keepBit
	}
	return s
}

// id is the key that s holds, whole.
func (s *slot) id() digest { return digest{s.h, s.b<<48 | s.u&idLow} }

func (s *slot) before() int64 { return int64(s.b >> 20) }
func (s *slot) until() uint32 { return uint32(s.u >> 32) }
func (s *slot) kind() Kind    { return Kind(s.b >> kindShift & kindMask) }
func (s *slot) keeps() bool   { return s.b&keepBit != 0 }

// A table is the exact part of a base: open addressing with linear probing, of
// whatever size its entries need. It is immutable once its base is published.
type table struct {
	slots []slot
	keep  map[uint32]*exceptions // by slot; few entries have any
}

// newTable returns a table with room for n entries at a load of four fifths.
func newTable(n int) *table {
	return &table{slots: make([]slot, n+n/4+1)}
}

// start is where the search for id begins. Range reduction by multiplication
// needs no power of two, so the table is never larger than its entries ask for.
func (t *table) start(id digest) int {
	hi, _ := bits.Mul64(id.hi, uint64(len(t.slots)))
	return int(hi)
}

// find returns the slot of id, or the empty slot where it belongs. There is
// always an empty one: a table is never filled beyond what newTable was told.
func (t *table) find(id digest) (i int, found bool) {
	for i = t.start(id); ; i++ {
		if i == len(t.slots) {
			i = 0
		}
		if s := &t.slots[i]; s.u == 0 {
			return i, false
		} else if s.h == id.hi && s.id() == id {
			return i, true
		}
	}
}

// put adds e, merging it with an entry of its key.
func (t *table) put(e entry) {
	i, found := t.find(e.id)
	if found {
		e = merge(t.entry(i), e)
	}
	t.slots[i] = pack(&e)
	t.setKeep(i, e.keep)
}

// setKeep stores the exceptions of the slot at i, whose keepBit says whether they are
// looked for.
func (t *table) setKeep(i int, keep *exceptions) {
	if keep == nil {
		return
	}
	if t.keep == nil {
		t.keep = make(map[uint32]*exceptions)
	}
	t.keep[uint32(i)] = keep
}

// move copies a slot of another table, whose key is not here yet.
func (t *table) move(s slot, keep *exceptions) {
	i := t.start(s.id())
	for t.slots[i].u != 0 {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	t.slots[i] = s
	t.setKeep(i, keep)
}

// entry unpacks the slot at i.
func (t *table) entry(i int) entry {
	s := &t.slots[i]
	return entry{id: s.id(), kind: s.kind(), before: s.before(), until: s.until(), keep: t.exceptions(i)}
}

func (t *table) exceptions(i int) *exceptions {
	if !t.slots[i].keeps() {
		return nil
	}
	return t.keep[uint32(i)]
}

// revokes reports whether a live entry for id revokes the token.
func (t *table) revokes(id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	i, found := t.find(id)
	if !found {
		return false
	}
	s := &t.slots[i]
	return s.until() >= live && revokes(s.before(), t.exceptions(i), iat, sid, hasSid)
}
