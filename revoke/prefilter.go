package revoke

import "sync/atomic"

// prefilters tell of a value, from its length and its ends, that no entry of a kind can
// have it: one bit for each of 2¹⁴ sums, set before the entry is. Of a kind with few
// entries, as most are, a check then hashes hardly any value. A bit stays when its entry
// expires: what is lost is time only.
//
// Anyone who chooses values can choose their sums, as there is no key. That costs a hash.
type prefilter [1 << 8]atomic.Uint64

func prefilterBit(value string) (word, bit uint64) {
	const mix = 0x9e3779b97f4a7c15 // 2⁶⁴ over the golden ratio
	h := uint64(len(value)) * mix
	if n := len(value); n >= 8 {
		h = (h ^ eight(value)) * mix
		h = (h ^ h>>32 ^ eight(value[n-8:])) * mix
	} else {
		for i := range n {
			h = (h ^ uint64(value[i])) * mix
		}
	}
	return h >> 56, h >> 50 & 63
}

// eight reads the first eight bytes, as one load.
func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func (g *prefilter) add(value string) {
	word, bit := prefilterBit(value)
	if mask := uint64(1) << bit; g[word].Load()&mask == 0 {
		g[word].Or(mask)
	}
}

// addAll is for entries whose values nobody knows any more.
func (g *prefilter) addAll() {
	for i := range g {
		g[i].Store(^uint64(0))
	}
}

func (g *prefilter) mayHave(value string) bool {
	word, bit := prefilterBit(value)
	return g[word].Load()>>bit&1 != 0
}
