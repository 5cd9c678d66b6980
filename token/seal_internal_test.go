package token

import (
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

// sealOf computes a seal as the paper says, in numbers of any size.
func sealOf(key []uint64, text string) (d seal) {
	for len(text)%16 != 0 {
		text += "\x00"
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64([]byte(text)[8*i:]) }
	mod := new(big.Int).Lsh(big.NewInt(1), 128)
	for pass := range 2 {
		sum := new(big.Int)
		for i := 0; i < len(text)/8; i += 2 {
			x, y := new(big.Int).SetUint64(word(i)+key[i+2*pass]), new(big.Int).SetUint64(word(i+1)+key[i+1+2*pass])
			sum.Mod(sum.Add(sum, x.Mul(x, y)), mod)
		}
		var b [16]byte
		sum.FillBytes(b[:])
		d[2*pass], d[2*pass+1] = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[:8])
	}
	return d
}

func TestSealIsThatOfThePaper(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 0; n <= maxSealed; n += 1 + n/40 {
		s := newSealer()
		var text strings.Builder
		for range n {
			text.WriteByte(byte(rng.Uint32()))
		}
		got, ok := s.of(text.String())
		if want := sealOf(s.key[:], text.String()); !ok || got != want {
			t.Fatalf("%d bytes: %x, %t, want %x", n, got, ok, want)
		}
	}
	if _, ok := newSealer().of(strings.Repeat("A", maxSealed)); !ok {
		t.Error("the longest is not sealed")
	}
	if d, ok := newSealer().of(strings.Repeat("A", maxSealed+1)); ok || d != (seal{}) {
		t.Error("one that is longer than the key is sealed")
	}
}

// Whichever bit of a signature is another, and whatever the key, the seal is another in both
// halves: each alone would do 64 bits' worth.
func TestSealTellsEachBit(t *testing.T) {
	for _, n := range []int{1, 8, 15, 16, 17, 43, 86, 342, maxSealed} {
		s, text := newSealer(), []byte(strings.Repeat("s", n))
		d, _ := s.of(string(text))
		for i := range n * 8 {
			text[i/8] ^= 1 << (i % 8)
			other, _ := s.of(string(text))
			if other.is(&d) || other[0] == d[0] && other[1] == d[1] || other[2] == d[2] && other[3] == d[3] {
				t.Fatalf("%d bytes: bit %d makes no difference: %x, %x", n, i, d, other)
			}
			text[i/8] ^= 1 << (i % 8)
		}
		if again, _ := s.of(string(text)); !again.is(&d) {
			t.Errorf("%d bytes: another seal of the same", n)
		}
		if other, _ := newSealer().of(string(text)); other.is(&d) {
			t.Errorf("%d bytes: two keys make the same seal", n)
		}
	}
}

// What the table finds is held against the whole seal, the length and all the rest.
func TestCacheComparesAll(t *testing.T) {
	c, by := newCache(1<<20), new(acceptor)
	by.cfg.Audiences = []string{"a"}
	s := segments{signed: "head.body", header: "head", payload: "body", signature: "signature"}
	c.add(c.entry(s, &Claims{}, by), s.signature)
	const raw = "head.body.signature"
	known := c.find(raw)
	if known == nil {
		t.Fatal("not remembered")
	}
	for name, change := range map[string]func() (undo func()){
		"first half of the seal":  func() func() { known.seal[0]++; return func() { known.seal[0]-- } },
		"its upper word":          func() func() { known.seal[1] ^= 1 << 63; return func() { known.seal[1] ^= 1 << 63 } },
		"second half of the seal": func() func() { known.seal[2]++; return func() { known.seal[2]-- } },
		"the last word":           func() func() { known.seal[3]++; return func() { known.seal[3]-- } },
		"length":                  func() func() { known.signature++; return func() { known.signature-- } },
		"payload":                 func() func() { known.signed = "head.bodi"; return func() { known.signed = s.signed } },
		"header":                  func() func() { known.signed = "head,body"; return func() { known.signed = s.signed } },
	} {
		undo := change()
		if c.find(raw) != nil {
			t.Errorf("found though it differs: %s", name)
		}
		undo()
		if c.find(raw) != known {
			t.Errorf("%s: not found again", name)
		}
	}
	for _, n := range []int64{-1 << 62, -1, 0, 1, 8, 9, 10, 14, 18, 19, 1 << 30, 1 << 62} { // wherever it is cut
		c.signature.Store(n)
		if got := c.find(raw); got != known && (n != 14 || got != nil) { // there is a dot, but not the last
			t.Errorf("not found where the last signature had %d bytes", n)
		}
		for _, other := range []string{"", ".", "..", "head", "head.", "head.body", "head.body.", "head.body.signatur", "head.body.signaturf", "head.body.signature\x00", ".head.body.signature"} {
			if c.find(other) != nil {
				t.Errorf("%q is found where the last signature had %d bytes", other, n)
			}
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, n := range []int{43, 86, 342} {
		b.Run(map[int]string{43: "HS256", 86: "EdDSA", 342: "RS256"}[n], func(b *testing.B) {
			s, text := newSealer(), strings.Repeat("s", n)
			for b.Loop() {
				s.of(text)
			}
		})
	}
}
