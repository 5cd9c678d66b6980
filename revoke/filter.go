package revoke

import (
	"math"
	"math/bits"

	"github.com/bits-and-blooms/bloom/v3"
)

// A filter is the Bloom filter before a table: it answers most checks without
// touching the table, which is six times its size. bits-and-blooms/bloom holds its
// bits; the positions are our own, because the library hashes without a key, computes
// its hash anew for every look-up, and spreads a key over all of the filter. Here all
// bits of a key stand in one block of a cache line, one in each of its words (a
// blocked Bloom filter: Putze, Sanders and Singler): a look-up waits for memory once,
// and tests the words without a branch, so that the processor overlaps the look-ups
// of a check. It takes a fourth more memory for the same rate.
//
// A filter is built by one goroutine and immutable once published: the library's is
// not safe for reading while it is written.
type filter struct {
	words  []uint64
	blocks uint64
}

const (
	blockWords = 8 // and as many bits a key
	blockBits  = blockWords * 64
)

// A density is how many bits a filter has for each entry.
type density struct {
	few, many float64
}

// smallFilter is the number of entries up to which the luck of the few blocks, some of
// which get more than their share, asks for more bits (BenchmarkFalsePositives).
const smallFilter = 16 << 10

func newDensity(rate float64) density {
	return density{few: bitsPerKey(rate / 2), many: bitsPerKey(rate * .8)}
}

// newFilter makes one for n entries.
func newFilter(n int, d density) *filter {
	each := d.many
	if n <= smallFilter {
		each = d.few
	}
	blocks := max(uint64(math.Ceil(float64(n)*each/blockBits)), 4)
	b := bloom.New(uint(blocks*blockBits), blockWords)
	return &filter{words: b.BitSet().Words(), blocks: blocks}
}

// bitsPerKey returns how many bits a key takes for a false-positive rate.
func bitsPerKey(rate float64) float64 {
	low, high := 1.0, 1024.0
	for range 40 {
		if c := (low + high) / 2; blockedRate(blockBits/c) > rate {
			low = c
		} else {
			high = c
		}
	}
	return high
}

// blockedRate is the false-positive rate of blocks that hold keys keys in the mean: how
// many one holds follows Poisson's law, and each of them leaves a given bit of a word
// unset with probability 63/64.
func blockedRate(keys float64) float64 {
	rate, p := 0.0, math.Exp(-keys)
	for j := 0.0; j < keys+15*math.Sqrt(keys)+50; j++ {
		rate += p * math.Pow(1-math.Pow(63.0/64, j), blockWords)
		p *= keys / (j + 1)
	}
	return rate
}

// block returns that of id: bits of id.hi choose it, by multiplication, which keeps
// the top ones; the 48 of id.lo, six a word, choose the bits in it.
func (f *filter) block(id digest) *[blockWords]uint64 {
	i, _ := bits.Mul64(id.hi, f.blocks)
	return (*[blockWords]uint64)(f.words[i*blockWords:])
}

func (f *filter) add(id digest) {
	b := f.block(id)
	x := id.lo>>48 | id.lo<<16
	for i := range b {
		b[i] |= 1 << (x >> (6 * i) & 63)
	}
}

func (f *filter) mayContain(id digest) bool {
	b := f.block(id)
	x := id.lo>>48 | id.lo<<16
	return b[0]>>(x&63)&(b[1]>>(x>>6&63))&(b[2]>>(x>>12&63))&(b[3]>>(x>>18&63))&
		(b[4]>>(x>>24&63))&(b[5]>>(x>>30&63))&(b[6]>>(x>>36&63))&(b[7]>>(x>>42&63))&1 != 0
}

// rate measures the false-positive rate: the chance that all bits of a key that was
// not added are set, from those that really are.
func (f *filter) rate() float64 {
	sum := 0.0
	for i := 0; i < len(f.words); i += blockWords {
		p := 1.0
		for _, w := range f.words[i : i+blockWords] {
			p *= float64(bits.OnesCount64(w)) / 64
		}
		sum += p
	}
	return sum / float64(f.blocks)
}
