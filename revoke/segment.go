package revoke

import (
	"cmp"
	"math/bits"
	"slices"
)

// A segment holds entries of one kind whose identities begin with the same bits, sorted
// by identity, without a gap: a column for each part of an entry, so that none pays for
// the alignment of another. That is 18 bytes an entry, 24 of kinds that are cutoffs, and
// for each bucketEntries of them four bytes of index. It is immutable.
//
// All 112 bits of an identity are compared (invariant 2): the 64 of hi, and the 48 of lo
// in two columns. The end of an entry is kept to the second, as newEntry rounded it up
// (invariant 3).
type segment struct {
	depth uint8    // how many leading bits of hi chose the segment
	hi    []uint64 // and with lo, of one allocation
	lo    []uint64 // 32 bits of expiry, 32 of identity
	top   []uint16 // 16 of identity, of kinds that are no cutoff
	cut   []uint64 // of the others: 44 bits of cutoff, three unused, keepBit, 16 of identity
	index []uint32 // where each bucket starts, by the next bits of hi; at last, where all end
	keep  []kept   // sorted; few entries have any
}

type kept struct {
	at uint32 // in the columns
	by *exceptions
}

// bucketEntries is how many entries share a place in the index in the mean. Their
// parts of hi are two lines of the processor's cache.
const bucketEntries = 16

var emptySegment = &segment{index: []uint32{0, 0}}

// bucket returns that of entries with hi.
func (s *segment) bucket(hi uint64) int {
	b, _ := bits.Mul64(hi<<s.depth, uint64(len(s.index)-1))
	return int(b)
}

// search returns where the first entry is whose hi is not smaller, which may be behind the
// last. However identities were made, it takes steps as the logarithm of their number.
func (s *segment) search(hi uint64) int {
	b := s.bucket(hi)
	i, end := int(s.index[b]), int(s.index[b+1])
	for end-i > 8 {
		if m := int(uint(i+end) / 2); s.hi[m] < hi {
			i = m + 1
		} else {
			end = m
		}
	}
	for i < end && s.hi[i] < hi {
		i++
	}
	return i
}

// find returns where the entry of id is.
func (s *segment) find(id digest) (i int, found bool) {
	for i = s.search(id.hi); i < len(s.hi) && s.hi[i] == id.hi; i++ {
		if s.id(i) == id {
			return i, true
		}
	}
	return 0, false
}

func (s *segment) id(i int) digest {
	lo := s.lo[i] & idLow
	if s.cut == nil {
		return digest{s.hi[i], uint64(s.top[i])<<48 | lo}
	}
	return digest{s.hi[i], s.cut[i]<<48 | lo}
}

func (s *segment) until(i int) uint32 { return uint32(s.lo[i] >> 32) }

func (s *segment) before(i int) int64 {
	if s.cut == nil {
		return forever
	}
	return int64(s.cut[i] >> 20)
}

func (s *segment) exceptions(i int) *exceptions {
	if s.cut == nil || s.cut[i]&keepBit == 0 {
		return nil
	}
	at, _ := slices.BinarySearchFunc(s.keep, uint32(i), func(k kept, i uint32) int { return cmp.Compare(k.at, i) })
	return s.keep[at].by
}

func (s *segment) bytes() int64 {
	return int64(8*(len(s.hi)+len(s.lo)+len(s.cut)) + 2*len(s.top) + 4*len(s.index) + keptBytes*len(s.keep))
}

// keptBytes is the size of a kept; a test holds it to the type.
const keptBytes = 16

// A segmentBuilder takes entries in the order of their identities. It is used for one
// segment after the other.
type segmentBuilder struct {
	kind        Kind
	hi, lo, cut []uint64
	top         []uint16
	keep        []kept
}

// grow makes room for n more entries, so that there is no need to allocate twice.
func (w *segmentBuilder) grow(n int) {
	w.hi, w.lo = slices.Grow(w.hi, n), slices.Grow(w.lo, n)
	if w.kind.Cutoff() {
		w.cut = slices.Grow(w.cut, n)
	} else {
		w.top = slices.Grow(w.top, n)
	}
}

func (w *segmentBuilder) add(e *entry) {
	w.hi = append(w.hi, e.id.hi)
	w.lo = append(w.lo, uint64(e.until)<<32|e.id.lo&idLow)
	if !w.kind.Cutoff() {
		w.top = append(w.top, uint16(e.id.lo>>48))
		return
	}
	cut := uint64(e.before)<<20 | e.id.lo>>48
	if e.keep != nil {
		cut |= keepBit
		w.keep = append(w.keep, kept{uint32(len(w.cut)), e.keep})
	}
	w.cut = append(w.cut, cut)
}

// copy adds the entry at i of a segment of the same kind.
func (w *segmentBuilder) copy(s *segment, i int) {
	w.hi = append(w.hi, s.hi[i])
	w.lo = append(w.lo, s.lo[i])
	if !w.kind.Cutoff() {
		w.top = append(w.top, s.top[i])
		return
	}
	if keep := s.exceptions(i); keep != nil {
		w.keep = append(w.keep, kept{uint32(len(w.cut)), keep})
	}
	w.cut = append(w.cut, s.cut[i])
}

// segment returns what was added, in columns as large as it needs, and begins anew.
func (w *segmentBuilder) segment(depth uint8) *segment {
	n := len(w.hi)
	if n == 0 {
		return emptySegment
	}
	both := make([]uint64, 2*n)
	s := &segment{depth: depth, hi: both[:n:n], lo: both[n:], index: make([]uint32, max(n/bucketEntries, 1)+1)}
	copy(s.hi, w.hi)
	copy(s.lo, w.lo)
	if w.kind.Cutoff() {
		s.cut = make([]uint64, n)
		copy(s.cut, w.cut)
	} else {
		s.top = make([]uint16, n)
		copy(s.top, w.top)
	}
	if len(w.keep) > 0 {
		s.keep = make([]kept, len(w.keep))
		copy(s.keep, w.keep)
	}
	b := 0
	for i, hi := range s.hi {
		for to := s.bucket(hi); b < to; {
			b++
			s.index[b] = uint32(i)
		}
	}
	for b++; b < len(s.index); b++ {
		s.index[b] = uint32(n)
	}
	clear(w.keep) // points at what may be forgotten
	w.hi, w.lo, w.cut, w.top, w.keep = w.hi[:0], w.lo[:0], w.cut[:0], w.top[:0], w.keep[:0]
	return s
}
