package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// bareAllocations are those of the standard library for one check of a signature.
func bareAllocations(t *testing.T, alg token.Algorithm) float64 {
	t.Helper()
	digest := sha256.Sum256([]byte("message"))
	var check func() bool
	switch alg {
	case token.ES256:
		private := forgeKeys().ec
		signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		check = func() bool { return ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature) }
	case token.RS256:
		private := forgeKeys().rsa
		signature, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		check = func() bool { return rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, digest[:], signature) == nil }
	}
	return testing.AllocsPerRun(100, func() {
		if !check() {
			t.Fatal("bad signature")
		}
	})
}

// Verify allocates nothing for a remembered token, and little for a new one.
func TestVerifyAllocations(t *testing.T) {
	list := localList(t, revoke.Config{})
	now := time.Now()
	for _, x := range []struct {
		signer
		most float64 // of an unknown token; crypto/ecdsa and crypto/rsa take theirs
	}{{edSigner(t, "ed", forgeKeys().ed), 4}, {ecSigner(t, "ec"), 4 + bareAllocations(t, token.ES256)}, {rsSigner(t, "rs"), 4 + bareAllocations(t, token.RS256)}} {
		s := x.signer
		raws := make([]string, 64)
		for i := range raws {
			raws[i] = s.forge(s.header(), goodClaims(now).with("jti", strconv.Quote(fmt.Sprint("jti-", i))))
		}
		for _, cached := range []bool{false, true} {
			v := forgedVerifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.NoCache = []token.Algorithm{s.alg}, staticKeys(t, s), !cached
				c.Revocations, c.InsecureNoRevocations = list, false
			})
			most := x.most
			if cached {
				most = 0
				for _, raw := range raws {
					remembered(t, v, raw)
				}
			}
			i := 0
			ctx := t.Context()
			n := testing.AllocsPerRun(500, func() {
				i++
				if _, err := v.Verify(ctx, raws[i%len(raws)]); err != nil {
					t.Fatal(err)
				}
			})
			if n > most && (cached || !raceEnabled) { // under the race detector sync.Pool forgets
				t.Errorf("%s, remembered %t: %v allocations, want at most %v", s.alg, cached, n, most)
			}
		}
	}
}
