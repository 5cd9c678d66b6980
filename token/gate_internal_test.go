package token

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// plainSplit is split as one would write it without a thought for speed.
func plainSplit(raw string, limit int) (decoded []string, ok bool) {
	segments := strings.Split(raw, ".")
	if len(raw) > limit || len(segments) != 3 {
		return nil, false
	}
	for i, s := range segments {
		for _, c := range []byte(s) {
			if !inAlphabet[c] {
				return nil, false
			}
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || s == "" || i == 0 && base64.RawURLEncoding.DecodedLen(len(s)) > maxHeaderBytes {
			return nil, false
		}
		decoded = append(decoded, string(b))
	}
	return append(decoded, segments[0]+"."+segments[1]), true
}

var splitSeeds = []string{
	"", ".", "..", "...", "AA.AA.AA", "AA.AA.AA.", ".AA.AA", "AA..AA", "AA.AA.", "AA.AA.AA.AA", "AB.AA.AA", "AA.AB.AA", "AA.AA.AB", "A.AA.AA",
	"AA==.AA.AA", "AA.AA.AA=", "A+.AA.AA", "A/.AA.AA", "A_.A-.AA", "AA\n.AA.AA", "AA.A\rA.AA", "AA.AA.\nAA", "AA.AA.AA\n", "Aw._-_-.Ag", "AA.AA.A é", "A\x00.AA.AA", "eyJ9.eyJzdWIiOiJhIn0.AAAA",
	strings.Repeat("A", 5464) + ".AA.AA", strings.Repeat("A", 5460) + ".AA.AA", "AA." + strings.Repeat("A", 9000) + ".AA",
}

func checkSplit(t *testing.T, m *scratch, raw string) {
	t.Helper()
	want, ok := plainSplit(raw, shape.DefaultTokenBytes)
	p, err := split(raw, shape.DefaultTokenBytes)
	if (err == nil) != ok {
		t.Fatalf("split(%.80q): %v, should be accepted: %t", raw, err, ok)
	}
	if err != nil {
		inFamily(t, err, raw)
		return
	}
	got := []string{string(p.header), string(p.payload), string(p.signature), string(p.signed)}
	if !slices.Equal(got, want) {
		t.Fatalf("split(%q) = %q, want %q", raw, got, want)
	}
	// The same with memory that other tokens were in, and with a header that is known.
	s, err := cut(raw, shape.DefaultTokenBytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{false, true} {
		p, err := m.decode(s, known)
		if err != nil || known != (p.header == nil) || string(p.payload) != want[1] || string(p.signature) != want[2] || string(p.signed) != want[3] || !known && string(p.header) != want[0] {
			t.Fatalf("decode(%q) = %q, %v", raw, p, err)
		}
	}
}

func TestSplitSeeds(t *testing.T) {
	m, good := new(scratch), 0
	for _, raw := range splitSeeds {
		checkSplit(t, m, raw)
		if _, ok := plainSplit(raw, shape.DefaultTokenBytes); ok {
			good++
		}
	}
	if good < 4 {
		t.Errorf("%d good seeds", good)
	}
}

// FuzzSplit holds split to its plain twin: what is accepted, and what it becomes.
func FuzzSplit(f *testing.F) {
	for _, raw := range splitSeeds {
		f.Add(raw)
	}
	m := new(scratch)
	f.Fuzz(func(t *testing.T, raw string) { checkSplit(t, m, raw) })
}

// The header of the last good signature is known, by exactly its bytes, and no other.
func TestLastHeader(t *testing.T) {
	var l lastHeader
	for _, segment := range []string{"first", "second"} {
		h := header{alg: EdDSA, kid: segment}
		l.learn(segment, h)
		if got, ok := l.find(segment); !ok || got != h {
			t.Fatalf("find(%q): %+v, %v", segment, got, ok)
		}
		for _, other := range []string{"", segment[1:], segment + " ", strings.ToUpper(segment), "zero"} {
			if _, ok := l.find(other); ok {
				t.Errorf("%q is known", other)
			}
		}
	}
	if _, ok := l.find("first"); ok {
		t.Error("the one before is known")
	}
}
