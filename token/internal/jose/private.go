package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
)

// No error of this file wraps one of a parser: those may quote what they read.

// PublicOf returns the public half of key. Of an empty private key of the standard
// library, whose Public panics, it is an error.
func PublicOf(key crypto.Signer) (crypto.PublicKey, error) {
	empty := false
	switch k := key.(type) {
	case nil:
		empty = true
	case ed25519.PrivateKey:
		empty = len(k) != ed25519.PrivateKeySize
	case *ecdsa.PrivateKey:
		empty = k == nil
	case *rsa.PrivateKey:
		empty = k == nil
	}
	if empty {
		return nil, fmt.Errorf("%w: no key", ErrKey)
	}
	return key.Public(), nil
}

// ownKey returns a checked copy of key if it is a private key of the standard
// library, and nil if it is of another type.
func ownKey(alg string, key crypto.Signer) (crypto.Signer, error) {
	switch k := key.(type) {
	case nil:
		return nil, fmt.Errorf("%w: no key", ErrKey)
	case ed25519.PrivateKey:
		if len(k) != ed25519.PrivateKeySize {
			return nil, fmt.Errorf("%w: Ed25519 private key of %d bytes", ErrKey, len(k))
		}
		own := ed25519.NewKeyFromSeed(k.Seed())
		if !own.Equal(k) {
			return nil, fmt.Errorf("%w: the halves of the key do not match", ErrKey)
		}
		return own, nil
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 a caller can leave them out
		if k == nil || k.Curve == nil || k.D == nil || k.X == nil || k.Y == nil {
			return nil, fmt.Errorf("%w: no key", ErrKey)
		}
		if _, err := CheckPublic(alg, &k.PublicKey); err != nil {
			return nil, err
		}
		raw, err := k.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: not a private key of its curve", ErrKey)
		}
		return ecKey(schemes[alg], raw, &k.PublicKey)
	case *rsa.PrivateKey:
		if k == nil || k.N == nil || k.D == nil {
			return nil, fmt.Errorf("%w: no key", ErrKey)
		}
		if _, err := CheckPublic(alg, &k.PublicKey); err != nil {
			return nil, err
		}
		return rsaKey(k.N, k.E, k.D, k.Primes)
	}
	return nil, nil
}

func ecKey(s scheme, raw []byte, public *ecdsa.PublicKey) (crypto.Signer, error) {
	own, err := ecdsa.ParseRawPrivateKey(s.curve, raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: not a private key of its curve", ErrKey)
	case !own.PublicKey.Equal(public):
		return nil, fmt.Errorf("%w: the halves of the key do not match", ErrKey)
	}
	return own, nil
}

func rsaKey(n *big.Int, e int, d *big.Int, primes []*big.Int) (crypto.Signer, error) {
	if len(primes) != 2 || slices.ContainsFunc(primes, func(p *big.Int) bool { return p == nil || p.BitLen() < 2 || p.Bit(0) == 0 }) {
		return nil, fmt.Errorf("%w: an RSA private key needs its two primes", ErrKey)
	}
	clone := func(n *big.Int) *big.Int { return new(big.Int).Set(n) }
	own := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: clone(n), E: e}, D: clone(d), Primes: []*big.Int{clone(primes[0]), clone(primes[1])}}
	own.Precompute()
	if own.Validate() != nil {
		return nil, fmt.Errorf("%w: the parts of the RSA key do not match", ErrKey)
	}
	return own, nil
}

// PKCS8 returns the private key, or false if it is not in memory. It is the secret.
func (s *Signer) PKCS8() ([]byte, bool) {
	if s.key == nil {
		return nil, false
	}
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	return der, err == nil
}

// ParsePKCS8 reads what [Signer.PKCS8] wrote, and any other PKCS #8 key.
func ParsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not a PKCS #8 private key of a known kind", ErrKey)
	}
	return asSigner(key)
}

func asSigner(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	}
	return nil, fmt.Errorf("%w: a %T cannot sign", ErrKey, key)
}

// ParsePEM reads the one private key in a PEM file: PKCS #8, PKCS #1 or SEC 1, not
// encrypted. Certificates, public keys and parameters beside it are passed over.
func ParsePEM(data []byte) (crypto.Signer, error) {
	var key crypto.Signer
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		var parsed any
		var err error
		switch {
		case block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%w: the PEM is encrypted: decrypt it first", ErrKey)
		case block.Type == "PRIVATE KEY":
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case block.Type == "RSA PRIVATE KEY":
			parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case block.Type == "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		case block.Type == "CERTIFICATE", block.Type == "PUBLIC KEY", block.Type == "EC PARAMETERS":
			continue
		default:
			return nil, fmt.Errorf("%w: the PEM holds a block that is no private key", ErrKey)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the private key in the PEM cannot be read", ErrKey)
		}
		if key != nil {
			return nil, fmt.Errorf("%w: the PEM holds several private keys", ErrKey)
		}
		if key, err = asSigner(parsed); err != nil {
			return nil, err
		}
	}
	switch {
	case key == nil:
		return nil, fmt.Errorf("%w: no private key in the PEM", ErrKey)
	case bytes.Contains(data, []byte("-----BEGIN")):
		return nil, fmt.Errorf("%w: the PEM is cut short", ErrKey)
	}
	return key, nil
}

// A PrivateJWK holds the members of a private or symmetric JSON Web Key, as they
// stand in the JSON.
type PrivateJWK struct {
	JWK
	D, P, Q, DP, DQ, QI, K string
}

// Signer returns the private key. Like [JWK.Public] it takes one spelling of each.
func (j PrivateJWK) Signer() (crypto.Signer, error) {
	public, err := j.Public()
	if err != nil {
		return nil, err
	}
	switch public := public.(type) {
	case ed25519.PublicKey:
		seed, err := member{"d", j.D, 32, 32}.decode()
		if err != nil {
			return nil, err
		}
		key := ed25519.NewKeyFromSeed(seed)
		if !public.Equal(key.Public()) {
			return nil, fmt.Errorf("%w: the halves of the key do not match", ErrKey)
		}
		return key, nil
	case *ecdsa.PublicKey:
		size := coordinate(j.Crv)
		raw, err := member{"d", j.D, size, size}.decode()
		if err != nil {
			return nil, err
		}
		return ecKey(scheme{curve: public.Curve}, raw, public)
	case *rsa.PublicKey:
		return j.rsa(public)
	}
	return nil, fmt.Errorf("%w: unknown kty", ErrKey)
}

func (j PrivateJWK) rsa(public *rsa.PublicKey) (crypto.Signer, error) {
	if bits := public.N.BitLen(); bits < minRSABits { // nothing is computed with it
		return nil, fmt.Errorf("%w: RSA modulus of %d bits, fewer than %d", ErrWeak, bits, minRSABits)
	}
	var n [6]*big.Int
	for i, m := range []member{{"d", j.D, 0, maxRSABits / 8}, {"p", j.P, 0, maxRSABits / 8}, {"q", j.Q, 0, maxRSABits / 8},
		{"dp", j.DP, 0, maxRSABits / 8}, {"dq", j.DQ, 0, maxRSABits / 8}, {"qi", j.QI, 0, maxRSABits / 8}} {
		if i > 2 && m.text == "" { // RFC 7518 section 6.3.2: they can be computed
			continue
		}
		b, err := m.decode()
		if err != nil {
			return nil, err
		}
		n[i] = new(big.Int).SetBytes(b)
	}
	signer, err := rsaKey(public.N, public.E, n[0], []*big.Int{n[1], n[2]})
	if err != nil {
		return nil, err
	}
	own := signer.(*rsa.PrivateKey).Precomputed
	for i, have := range []*big.Int{own.Dp, own.Dq, own.Qinv} {
		if given := n[3+i]; given != nil && have != nil && given.Cmp(have) != 0 {
			return nil, fmt.Errorf("%w: the parts of the RSA key do not match", ErrKey)
		}
	}
	return signer, nil
}

// Secret returns the value of a key of kty oct.
func (j PrivateJWK) Secret() ([]byte, error) {
	if j.Kty != "oct" {
		return nil, fmt.Errorf("%w: not a secret", ErrKey)
	}
	return member{"k", j.K, 0, 1 << 10}.bytes()
}

// decode returns the value of a member that passes [member.check].
func (m member) decode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.DecodeString(m.text)
}

// bytes is decode for a value that is no number: zeros in front are part of it.
func (m member) bytes() ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(m.text)
	if err != nil || len(b) == 0 || len(b) > m.limit || bytes.ContainsAny([]byte(m.text), "\r\n") {
		return nil, fmt.Errorf("%w: member %s is not canonical base64url", ErrKey, m.name)
	}
	return b, nil
}
