package revoke

import (
	"math"
	"math/bits"

	"github.com/bits-and-blooms/bloom/v3"
)

// A filter is the Bloom filter before a table: it answers most checks without
// touching the table, which is twelve times its size. bits-and-blooms/bloom gives
// its parameters and its bits; the positions are our own, because the library
// hashes without a key and computes its hash anew for every look-up. A filter is
// built by one goroutine and immutable once published: the library's is not safe
// for reading while it is written.
type filter struct {
	bloom *bloom.BloomFilter
	words []uint64
	bits  uint64
	k     uint64
}

// smallFilter is the number of entries below which a filter of the promised size errs
// up to a fifth more often than promised (BenchmarkFalsePositives).
const smallFilter = 16 << 10

// minFilter is the smallest number of entries a filter is sized for.
const minFilter = 64

func newFilter(n int, rate float64) *filter {
	if n < smallFilter {
		rate *= 0.75 // the positions of double hashing coincide more often among few
	}
	m, k := bloom.EstimateParameters(uint(max(n, minFilter)), rate)
	b := bloom.New(m, k)
	return &filter{bloom: b, words: b.BitSet().Words(), bits: uint64(b.Cap()), k: uint64(b.K())}
}

// step spreads the 48 random bits of id.lo over the top of the word, which is what
// multiplication keeps of it. Positions are id.hi + i·step: double hashing (Kirsch
// and Mitzenmacher).
func step(id digest) uint64 { return id.lo<<32 | id.lo>>32 | 1 }

func (f *filter) add(id digest) {
	x, step := id.hi, step(id)
	for range f.k {
		p, _ := bits.Mul64(x, f.bits)
		f.words[p>>6] |= 1 << (p & 63)
		x += step
	}
}

func (f *filter) mayContain(id digest) bool {
	x, step := id.hi, step(id)
	for range f.k {
		p, _ := bits.Mul64(x, f.bits)
		if f.words[p>>6]&(1<<(p&63)) == 0 {
			return false
		}
		x += step
	}
	return true
}

// rate measures the false-positive rate: the chance that k positions of a key
// that was not added are all set, from the share of bits that really are.
func (f *filter) rate() float64 {
	set := 0
	for _, w := range f.words {
		set += bits.OnesCount64(w)
	}
	return math.Pow(float64(set)/float64(f.bits), float64(f.k))
}
