package token

import "github.com/hybridtoken/hybridtoken/token/internal/jose"

// An Algorithm is a JWS algorithm, written as in a header's alg (RFC 7518 section
// 3.1, RFC 8037 section 3.1). Case matters.
type Algorithm string

// The supported algorithms. Prefer [EdDSA] for tokens of your own: small, fast,
// and without a second spelling of a signature. [RS256] is what everybody
// understands. "none" and keys on secp256k1 are not supported.
const (
	EdDSA Algorithm = "EdDSA" // Ed25519
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

// publicAlgorithms are all that verify with a public key.
var publicAlgorithms = []Algorithm{EdDSA, ES256, ES384, ES512, RS256, RS384, RS512, PS256, PS384, PS512}

func (a Algorithm) known() bool { return jose.Known(string(a)) }

// symmetric reports whether whoever can verify can also sign.
func (a Algorithm) symmetric() bool { return jose.Symmetric(string(a)) }

func (a Algorithm) fits(kty, crv string) bool { return jose.Fits(string(a), kty, crv) }
