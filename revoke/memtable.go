package revoke

import "sync/atomic"

// A memtable is the bounded part of a List that takes new events while readers
// look: a small open-addressing table of atomic fixed-size slots, never moved and
// never emptied. One writer at a time, under the List's mutex; readers take no lock.
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
	slots []memtableSlot // a power of two, at most half full
	bits  []atomic.Uint64
	used  int // the writer's
}

type memtableSlot struct {
	h, b, u atomic.Uint64 // as in slot; h is never zero in a used one
	keep    atomic.Pointer[exceptions]
}

func newMemtable(capacity int) *memtable {
	n := 64
	for n < 2*capacity {
		n *= 2
	}
	return &memtable{slots: make([]memtableSlot, n), bits: make([]atomic.Uint64, n/8)}
}

// marks is where the bits of id stand, by other bits of it than its slot's.
func (r *memtable) marks(id digest) (word *atomic.Uint64, mask uint64) {
	i := id.hi >> 32
	return &r.bits[i>>12&uint64(len(r.bits)-1)], 1<<(i&63) | 1<<(i>>6&63)
}

func (r *memtable) capacity() int { return len(r.slots) / 2 }

func (r *memtable) full() bool { return r.used >= r.capacity() }

// find returns the slot with id, or the empty one where it belongs.
func (r *memtable) find(id digest) (s *memtableSlot, found bool) {
	mask := uint64(len(r.slots) - 1)
	for i := id.hi & mask; ; i = (i + 1) & mask {
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
		word, mask := r.marks(e.id)
		word.Or(mask)
		r.used++
	}
}

func (s *memtableSlot) until() uint32 { return uint32(s.u.Load() >> 32) }

// entry unpacks s, which is in use. It is for the writer and for frozen slots.
func (s *memtableSlot) entry() entry {
	p := slot{h: s.h.Load(), b: s.b.Load(), u: s.u.Load()}
	return entry{id: p.id(), kind: p.kind(), before: p.before(), until: p.until(), keep: s.keep.Load()}
}

// revokes reports whether a live entry for id revokes the token.
func (r *memtable) revokes(id digest, live uint32, iat int64, sid digest, hasSid bool) bool {
	if word, mask := r.marks(id); word.Load()&mask != mask {
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
