package token_test

import (
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Strangers choose the keys of proofs: what would take long to verify is not tried.
func TestDPoPKeySizeIsBounded(t *testing.T) {
	b := newBoundAPI(t, nil)
	for bits, why := range map[int]string{2048: "bad signature", 4096: "bad signature", 4097: "more than 4096 bits", 4104: "more than 4096 bits", 8192: "more than 4096 bits", 2047: "weak"} {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
		if err != nil {
			t.Fatal(err)
		}
		n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
		modulus := base64.RawURLEncoding.EncodeToString(n.Bytes())
		p := prover{"PS256", forge.Object{"kty", `"RSA"`, "n", strconv.Quote(modulus), "e", `"AQAB"`},
			digest(`{"e":"AQAB","kty":"RSA","n":"` + modulus + `"}`), func([]byte) []byte { return make([]byte, (bits+7)/8) }}
		raw := b.issueTo(t, p.jkt)
		b.logged.Reset()
		if r := b.send("DPoP", raw, p.prove(raw)); dpopError(r) != "invalid_dpop_proof" || !strings.Contains(b.logged.String(), why) {
			t.Errorf("%d bits: %d, logged %s", bits, r.StatusCode, &b.logged)
		}
	}
}
