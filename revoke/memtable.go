package revoke

import (
	"math/bits"
	"sync/atomic"
)

// A memtable is the bounded part of a List that takes new events while readers
// look: a small open-addressing table of atomic fixed-size slots, never moved and
// never emptied, nearly in the order of the identities. One writer at a time, under the List's mutex; readers take no lock.
//
// Order proves the reads. The writer fills a new slot's values before its tag h,
// so anyone who finds the tag finds the values. It widens an existing slot in the
// order keep, b, u, and a reader loads u, b, keep: a reader that sees the new
// cutoff sees the exceptions that belong to it, and one that sees new exceptions
// with the old cutoff refuses at least what the old pair refused and at most what
// the new pair does.
//
// Before the slots stands a Bloom filter of two bits a key, in one word of which four
// keys share one when the memtable is full: where they are not both set there is nothing,
// and a slot's cache line need not be fetched to learn that, but for one look-up in
// fifty. They are set, last, before put returns.
type memtable struct {
	slots []memtableSlot // at most two thirds full
	marks []atomic.Uint64
	used  int // the writer's
}

type memtableSlot struct {
	h, b, u atomic.Uint64 // as in slot; h is never zero in a used one
	keep    atomic.Pointer[exceptions]
}

// newMemtable returns one with room for that many entries.
func newMemtable(capacity int) *memtable {
	capacity = max(capacity, 32)
	return &memtable{slots: make([]memtableSlot, capacity+capacity/2), marks: make([]atomic.Uint64, capacity/4)}
}

// start is where the search for identities with hi begins: all with a larger one begin
// there or later.
func (r *memtable) start(hi uint64) int {
	i, _ := bits.Mul64(hi, uint64(len(r.slots)))
	return int(i)
}

// mark is where the bits of id stand. Its word follows from where the search begins, the
// bits in it from others of the identity.
func (r *memtable) mark(id digest) (word *atomic.Uint64, mask uint64) {
	i, _ := bits.Mul64(id.hi, uint64(len(r.marks)))
	return &r.marks[i], 1<<(id.hi&63) | 1<<(id.hi>>6&63)
}

func (r *memtable) capacity() int { return len(r.slots) * 2 / 3 }

func (r *memtable) full() bool { return r.used >= r.capacity() }

// find returns the slot with id, or the empty one where it belongs.
func (r *memtable) find(id digest) (s *memtableSlot, found bool) {
	for i := r.start(id.hi); ; i++ {
		if i == len(r.slots) {
			i = 0
		}
		s := &r.slots[i]
		switch s.h.Load() {
		case 0:
			return s, false
		case id.hi:
			if p := (slot{b: s.b.Load(), u: s.u.Load()}); p.b<<48|p.u&idLow == id.lo {
				return s, true
			}
		}
	}
}

// put adds e, which must have room, merging it with an entry of its key.
func (r *memtable) put(e entry) {
	s, found := r.find(e.id)
	if found {
		e = merge(s.entry(), e)
	}
	p := pack(&e)
	if s.keep.Load() != e.keep {
		s.keep.Store(e.keep)
	}
	s.b.Store(p.b)
	s.u.Store(p.u)
	if !found {
		s.h.Store(e.id.hi)
		word, mask := r.mark(e.id)
		word.Or(mask)
		r.used++
	}
}

// entry unpacks s, which is in use. It is for the writer and for frozen slots.
func (s *memtableSlot) entry() entry {
	p := slot{h: s.h.Load(), b: s.b.Load(), u: s.u.Load()}
	return entry{id: p.id(), kind: p.kind(), before: p.before(), until: p.until(), keep: s.keep.Load()}
}

// revokes reports whether a live entry for id revokes the token.
func (r *memtable) revokes(id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	if word, mask := r.mark(id); word.Load()&mask != mask {
		return false
	}
	s, found := r.find(id)
	if !found {
		return false
	}
	p := slot{u: s.u.Load()}
	p.b = s.b.Load()
	return p.until() >= live && revokes(p.before(), s.keep.Load(), iat, sid, hasSid)
}

// between appends to list the entries of kind k whose hi lies between first and last, the
// last included. It is for frozen memtables.
func (r *memtable) between(list []entry, k Kind, first, last uint64) []entry {
	from, past := r.start(first), r.start(last)
	for n := range len(r.slots) { // from there round, none twice
		i := from + n
		if i >= len(r.slots) {
			i -= len(r.slots)
		}
		s := &r.slots[i]
		switch h := s.h.Load(); {
		case h == 0:
			if from+n >= past {
				return list
			}
		case h >= first && h <= last && s.kind() == k:
			list = append(list, s.entry())
		}
	}
	return list
}

func (s *memtableSlot) kind() Kind { return (&slot{b: s.b.Load()}).kind() }
