package benchmarks_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// BenchmarkVerify compares what Verify does with a token of ten claims, its check
// against a denylist without entries included, with the bare check of its signature.
func BenchmarkVerify(b *testing.B) {
	ring, err := token.NewEphemeralKeyring(token.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		b.Fatal(err)
	}
	iss, err := token.NewIssuer(token.IssuerConfig{Issuer: issuer, Keys: ring})
	if err != nil {
		b.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: freshList(b),
	})
	if err != nil {
		b.Fatal(err)
	}
	raws := make([]string, 512)
	for i := range raws {
		t, err := iss.Issue(b.Context(), token.IssueRequest{
			Subject: rand.Text(), Client: "web", Session: rand.Text(), Tenant: "acme", Audience: []string{"orders"},
			Scope: []string{"orders.read", "orders.write"}, Claims: map[string]any{"role": "clerk"}, Lifetime: 15 * time.Minute,
		})
		if err != nil {
			b.Fatal(err)
		}
		raws[i] = t.Token()
	}
	b.Run("Verifier.Verify", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := verifier.Verify(b.Context(), raws[i%len(raws)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ed25519.Verify", func(b *testing.B) {
		// The same work over inputs of the same size, under another key.
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			b.Fatal(err)
		}
		inputs, signatures := make([][]byte, len(raws)), make([][]byte, len(raws))
		for i, raw := range raws {
			signed := raw[:strings.LastIndexByte(raw, '.')]
			inputs[i], signatures[i] = []byte(signed), ed25519.Sign(private, []byte(signed))
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if !ed25519.Verify(public, inputs[i%len(raws)], signatures[i%len(raws)]) {
				b.Fatal("bad signature")
			}
		}
	})
}
