package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

func TestSignatureVector(t *testing.T) {
	s, err := NewSigner(vectorKey())
	if err != nil {
		t.Fatal(err)
	}
	if got := base64.RawURLEncoding.EncodeToString(vectorKey().Public().(ed25519.PublicKey)); got != vectorPublic {
		t.Errorf("public key %s", got)
	}
	got, err := s.Sign(t.Context(), testSubject, []byte(vectorPayload))
	if err != nil || got != vectorHeader {
		t.Errorf("header %s, %v", got, err)
	}
	page, err := os.ReadFile("../../../docs/trust.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{testSubject, vectorPayload, vectorPublic, vectorHeader} {
		if !bytes.Contains(page, []byte(s+"\n")) {
			t.Errorf("docs/trust.md does not show %s", s)
		}
	}
}

// FuzzParseSignature: what is read is written back as it was.
func FuzzParseSignature(f *testing.F) {
	for _, s := range []string{vectorHeader, "", ".", strings.Repeat("A", 103), vectorHeader + "=", vectorHeader[:50] + "\r" + vectorHeader[51:], strings.ToLower(vectorHeader), vectorHeader[:16] + "." + strings.Repeat("_", 86)} {
		f.Add(s)
	}
	if _, _, ok := parseSignature(vectorHeader); !ok {
		f.Fatal("the good seed is not read")
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, signature, ok := parseSignature(s)
		if ok && base64.RawURLEncoding.EncodeToString(id[:])+"."+base64.RawURLEncoding.EncodeToString(signature) != s {
			t.Fatalf("%q has two spellings", s)
		}
	})
}
