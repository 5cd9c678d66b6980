package revoke

import (
	"testing"

	"github.com/dchest/siphash"
)

// BenchmarkDigest compares hashing a text where it stands with copying it onto the stack
// for that.
func BenchmarkDigest(b *testing.B) {
	h := newHasher()
	value := "6f9619ff8b86d011b42d00c04fc964ff"
	b.Run("in place", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.of(value)
		}
	})
	b.Run("copied", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var stack [64]byte
			siphash.Hash128(h.k0, h.k1, stack[:copy(stack[:], value)])
		}
	})
}
