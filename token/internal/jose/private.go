package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
)

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
		return ECKey(schemes[alg].curve, raw, &k.PublicKey)
	case *rsa.PrivateKey:
		if k == nil || k.N == nil || k.D == nil {
			return nil, fmt.Errorf("%w: no key", ErrKey)
		}
		if _, err := CheckPublic(alg, &k.PublicKey); err != nil {
			return nil, err
		}
		return RSAKey(k.N, k.E, k.D, k.Primes)
	}
	return nil, nil
}

// ECKey returns the private key of the number raw on curve, whose public half must be
// public.
func ECKey(curve elliptic.Curve, raw []byte, public *ecdsa.PublicKey) (crypto.Signer, error) {
	own, err := ecdsa.ParseRawPrivateKey(curve, raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: not a private key of its curve", ErrKey)
	case !own.PublicKey.Equal(public):
		return nil, fmt.Errorf("%w: the halves of the key do not match", ErrKey)
	}
	return own, nil
}

// RSAKey returns the private key of these numbers, which must belong together.
func RSAKey(n *big.Int, e int, d *big.Int, primes []*big.Int) (crypto.Signer, error) {
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
