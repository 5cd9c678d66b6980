package jose

import (
	"crypto"
	"crypto/elliptic"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
)

type family uint8

const (
	eddsa family = iota + 1
	ecdsaFamily
	rsaPKCS1
	rsaPSS
	hmacFamily
)

// A scheme is what an alg value stands for (RFC 7518 section 3.1, RFC 8037 section 3.1).
type scheme struct {
	family family
	hash   crypto.Hash
	curve  elliptic.Curve // ecdsaFamily
	size   int            // of one coordinate in bytes, ecdsaFamily
}

var schemes = map[string]scheme{
	"EdDSA": {family: eddsa},
	"ES256": {ecdsaFamily, crypto.SHA256, elliptic.P256(), 32},
	"ES384": {ecdsaFamily, crypto.SHA384, elliptic.P384(), 48},
	"ES512": {ecdsaFamily, crypto.SHA512, elliptic.P521(), 66},
	"RS256": {family: rsaPKCS1, hash: crypto.SHA256},
	"RS384": {family: rsaPKCS1, hash: crypto.SHA384},
	"RS512": {family: rsaPKCS1, hash: crypto.SHA512},
	"PS256": {family: rsaPSS, hash: crypto.SHA256},
	"PS384": {family: rsaPSS, hash: crypto.SHA384},
	"PS512": {family: rsaPSS, hash: crypto.SHA512},
	"HS256": {family: hmacFamily, hash: crypto.SHA256},
	"HS384": {family: hmacFamily, hash: crypto.SHA384},
	"HS512": {family: hmacFamily, hash: crypto.SHA512},
}

// One returns the name of alg under which it is compared, kept and written: Ed25519 (RFC
// 9864) and EdDSA are one algorithm.
func One[A ~string](alg A) A {
	if alg == "Ed25519" {
		return "EdDSA"
	}
	return alg
}

// Sole returns the one algorithm for a public key, and how many there are.
func Sole(public crypto.PublicKey) (alg string, n int) {
	for a := range schemes {
		if _, err := CheckPublic(a, public); err == nil {
			alg = a
			n++
		}
	}
	return alg, n
}

// Known reports whether alg is supported.
func Known(alg string) bool { return schemes[alg].family != 0 }

// Symmetric reports whether alg verifies with the secret that signs.
func Symmetric(alg string) bool { return schemes[alg].family == hmacFamily }

// Fits reports whether alg is an algorithm for keys of that kty and crv.
func Fits(alg, kty, crv string) bool {
	s := schemes[alg]
	switch s.family {
	case eddsa:
		return kty == "OKP" && crv == "Ed25519"
	case ecdsaFamily:
		return kty == "EC" && crv == s.curve.Params().Name
	case rsaPKCS1, rsaPSS:
		return kty == "RSA"
	case hmacFamily:
		return kty == "oct"
	}
	return false
}
