package benchmarks_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A party issues tokens of ten claims, and has what verifies them bare.
type party struct {
	alg    token.Algorithm
	ring   *token.Keyring
	issuer *token.Issuer
	public crypto.PublicKey
}

func newParty(b testing.TB, alg token.Algorithm) party {
	var private crypto.Signer
	switch alg {
	case token.EdDSA:
		_, k, err := ed25519.GenerateKey(nil)
		private = must(b, k, err)
	case token.ES256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		private = must(b, k, err)
	case token.RS256:
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		private = must(b, k, err)
	}
	key, err := token.NewSigningKey("", alg, private)
	ring, err := token.NewKeyring(token.KeyringConfig{}, must(b, key, err))
	iss, err := token.NewIssuer(token.IssuerConfig{Issuer: issuer, Keys: must(b, ring, err)})
	return party{alg, ring, must(b, iss, err), private.Public()}
}

func (p party) token(b testing.TB) string {
	t, err := p.issuer.Issue(b.Context(), token.IssueRequest{
		Subject: rand.Text(), Client: "web", Session: rand.Text(), Tenant: "acme", Audience: []string{"orders"},
		Scope: []string{"orders.read", "orders.write"}, Claims: map[string]any{"role": "clerk"}, Lifetime: 15 * time.Minute,
	})
	return must(b, t, err).Token()
}

func (p party) tokens(b testing.TB, n int) []string {
	raws := make([]string, n)
	for i := range raws {
		raws[i] = p.token(b)
	}
	return raws
}

func (p party) verifier(b testing.TB, list *revoke.List, cacheBytes int) *token.Verifier {
	v, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{p.alg}, Keys: p.ring, Revocations: list,
		CacheBytes: cacheBytes, NoCache: cacheBytes == 0,
	})
	return must(b, v, err)
}

// A signature is what the bare check takes: everything is prepared but the digest.
type signature struct{ input, bytes []byte }

func (p party) signatures(b testing.TB, raws []string) []signature {
	all := make([]signature, len(raws))
	for i, raw := range raws {
		dot := strings.LastIndexByte(raw, '.')
		sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
		sig = must(b, sig, err)
		if p.alg == token.ES256 {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
			sig = must(b, der, err)
		}
		all[i] = signature{[]byte(raw[:dot]), sig}
	}
	return all
}

// bare checks s with the standard library alone.
func (p party) bare(s *signature) bool {
	switch public := p.public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, s.input, s.bytes)
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(s.input)
		return ecdsa.VerifyASN1(public, digest[:], s.bytes)
	case *rsa.PublicKey:
		digest := sha256.Sum256(s.input)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], s.bytes) == nil
	}
	return false
}

// BenchmarkVerify compares what Verify does with a token of ten claims it has not
// seen before, its check against a fresh denylist included, with the bare check of
// the same signature (budget B1). -v shows differences and spreads.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		b.Run(string(alg), func(b *testing.B) {
			p := newParty(b, alg)
			raws := p.tokens(b, 1024)
			signatures := p.signatures(b, raws)
			v := p.verifier(b, freshList(b), 0)
			ctx := b.Context()
			bare := func(i int) {
				if !p.bare(&signatures[i%len(raws)]) {
					b.Fatal("bad signature")
				}
			}
			verify := func(i int) {
				if _, err := v.Verify(ctx, raws[i%len(raws)]); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			count := func(work func(int)) float64 {
				return testing.AllocsPerRun(500, func() { n++; work(n) })
			}
			bareAllocs, allocs := count(bare), count(verify)
			rounds(b, 16, contender{"bare", bare}, contender{"Verify", verify})
			b.ReportMetric(allocs-bareAllocs, "allocs-beyond")
		})
	}
}
