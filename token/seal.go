package token

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// maxSealed is the longest signature segment that is sealed: one of the largest RSA key.
const maxSealed = (jose.MaxRSABits/8*8 + 5) / 6

// sealWords is how many words of a key the longest takes: one for each of its own, in whole
// pairs, and a pair more.
const sealWords = (maxSealed+15)/16*2 + 2

// A sealer makes keyed digests of signatures, of which two of one length that differ collide
// with a probability of at most 2⁻¹²⁸, whatever they are: NH of UMAC (Black, Halevi, Krawczyk,
// Krovetz and Rogaway, 1999), in words of 64 bits and twice, the second time with a key that is
// shifted by a pair (their Toeplitz construction). Once would be 2⁻⁶⁴: for anyone who
// knows all of a token but its signature, as from a log that leaves it out, and may try as often
// as he likes, too close to what many requests over years reach.
//
// It is no pseudorandom function. So nothing that anyone outside can see may depend on a
// digest, but whether two are equal.
type sealer struct{ key [sealWords]uint64 }

// A seal is the digest of one signature. The signature has twice its bits, or more, but for HMAC, whose
// secret is in the same memory.
type seal [4]uint64

// newSealer returns one with a key of its own.
func newSealer() *sealer {
	var seed [8 * sealWords]byte
	rand.Read(seed[:]) // never fails
	s := new(sealer)
	for i := range s.key {
		s.key[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	return s
}

// of returns the seal of a signature segment; false if that is longer than any.
func (s *sealer) of(signature string) (d seal, ok bool) {
	if len(signature) > maxSealed {
		return d, false
	}
	// The bytes are only read.
	b := unsafe.Slice(unsafe.StringData(signature), len(signature))
	key := s.key[:]
	for len(b) >= 16 {
		d.mix(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), (*[4]uint64)(key))
		b, key = b[16:], key[2:]
	}
	if len(b) > 0 { // padded with zeros: who compares two, compares their lengths
		var last [16]byte
		copy(last[:], b)
		d.mix(binary.LittleEndian.Uint64(last[:]), binary.LittleEndian.Uint64(last[8:]), (*[4]uint64)(key))
	}
	return d, true
}

// mix adds a pair of words, under four words of the key.
func (d *seal) mix(x, y uint64, key *[4]uint64) {
	hi, lo := bits.Mul64(x+key[0], y+key[1])
	var carry uint64
	d[0], carry = bits.Add64(d[0], lo, 0)
	d[1], _ = bits.Add64(d[1], hi, carry)
	hi, lo = bits.Mul64(x+key[2], y+key[3])
	d[2], carry = bits.Add64(d[2], lo, 0)
	d[3], _ = bits.Add64(d[3], hi, carry)
}

// is reports whether two seals are equal, in the same time whether they are or not.
func (d *seal) is(other *seal) bool {
	return (d[0]^other[0])|(d[1]^other[1])|(d[2]^other[2])|(d[3]^other[3]) == 0
}

// short is what a table finds a seal by.
func (d *seal) short() uint64 { return d[0] ^ d[1] ^ d[2] ^ d[3] }
