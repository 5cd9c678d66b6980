package token

import (
	"slices"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// An Algorithm is a JWS algorithm, written as in a header's alg (RFC 7518 section
// 3.1, RFC 8037 section 3.1, RFC 9864 section 2). Case matters.
type Algorithm string

// The supported algorithms. Prefer [EdDSA] for tokens of your own: small, fast,
// and without a second spelling of a signature. [RS256] is what everybody
// understands. "none" and keys on secp256k1 are not supported.
//
// [EdDSA] and [Ed25519], the name that RFC 9864 gives it, are one algorithm here: in
// configurations, keys, tokens and proofs either stands for both. Everything that
// this package returns or writes says EdDSA, which is what most others understand:
// many know no Ed25519 yet, and a key that names the one does not verify tokens that
// name the other for them.
const (
	EdDSA   Algorithm = "EdDSA"   // with keys on Ed25519 (RFC 8037)
	Ed25519 Algorithm = "Ed25519" // the same (RFC 9864 section 2.2)

	ES256 Algorithm = "ES256"
	ES384 Algorithm = "ES384"
	ES512 Algorithm = "ES512"
	RS256 Algorithm = "RS256"
	RS384 Algorithm = "RS384"
	RS512 Algorithm = "RS512"
	PS256 Algorithm = "PS256"
	PS384 Algorithm = "PS384"
	PS512 Algorithm = "PS512"
	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"
)

// one returns the name of a under which everything here compares, keeps and writes it.
func (a Algorithm) one() Algorithm { return jose.One(a) }

// ones returns a copy of all with the names of [Algorithm.one], each once.
func ones(all []Algorithm) []Algorithm {
	var out []Algorithm
	for _, a := range all {
		if a = a.one(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// names returns the names of a, the newest first, as others may write it.
func (a Algorithm) names() []string {
	if a == EdDSA {
		return []string{string(Ed25519), string(EdDSA)}
	}
	return []string{string(a)}
}

// publicAlgorithms are all that verify with a public key.
var publicAlgorithms = []Algorithm{EdDSA, ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512}

func (a Algorithm) known() bool { return jose.Known(string(a)) }

// symmetric reports whether anyone who can verify can also sign.
func (a Algorithm) symmetric() bool { return jose.Symmetric(string(a)) }

func (a Algorithm) fits(kty, crv string) bool { return jose.Fits(string(a), kty, crv) }
