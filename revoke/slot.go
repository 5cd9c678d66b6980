package revoke

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

// A slot is one entry in three words, as memtables and state files hold it.
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
