package token

import (
	"errors"
	"strings"
	"testing"
)

// A token has one spelling: a line break, which the decoder of base64 would skip, is refused in
// front of each of its bytes and behind the last.
func TestLineBreakInFrontOfEachByte(t *testing.T) {
	raw := segment.EncodeToString([]byte(`{"alg":"EdDSA","typ":"at+jwt","kid":"k"}`)) + "." + segment.EncodeToString([]byte(`{"iss":"i"}`)) + "." + segment.EncodeToString(make([]byte, 64))
	decode := func(raw string) error {
		s, err := cut(raw, 1<<10)
		if err != nil {
			return err
		}
		_, err = new(scratch).decode(s, false)
		return err
	}
	if err := decode(raw); err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) + 1 {
		for _, b := range []string{"\n", "\r"} {
			for _, spelt := range []string{raw[:i] + b + raw[i:], raw[:i] + strings.Repeat(b, 4) + raw[i:]} {
				if err := decode(spelt); !errors.Is(err, ErrMalformed) {
					t.Fatalf("%q in front of byte %d: error %v", b, i, err)
				}
			}
		}
	}
}
