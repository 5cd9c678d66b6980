package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

var (
	// ErrKey: the key is not one for the algorithm, or no public key at all.
	ErrKey = errors.New("unfit key")
	// ErrWeak: the key is one for the algorithm, but not a safe one.
	ErrWeak = errors.New("weak key")
)

// The sizes of an RSA modulus that are taken.
const (
	MinRSABits = 2048 // RFC 7518 section 3.3
	MaxRSABits = 8192 // verifying costs the square of it
)

// CheckPublic returns its own copy of key if it is a safe public key for alg.
func CheckPublic(alg string, key crypto.PublicKey) (crypto.PublicKey, error) {
	switch k := key.(type) {
	case interface{ Public() crypto.PublicKey }:
		return nil, fmt.Errorf("%w: it is a private key", ErrKey)
	case ed25519.PublicKey:
		if schemes[alg].family != eddsa {
			return nil, wrongType(alg, "Ed25519")
		}
		k = slices.Clone(k)
		return k, checkEd25519(k)
	case *ecdsa.PublicKey:
		if s := schemes[alg]; k == nil || s.family != ecdsaFamily || k.Curve != s.curve {
			return nil, wrongType(alg, "EC")
		}
		//lint:ignore SA1019 Bytes panics without the fields, and a caller can leave them out
		if k.X == nil || k.Y == nil {
			return nil, fmt.Errorf("%w: no point", ErrKey)
		}
		point, err := k.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: the point is not on the curve", ErrWeak)
		}
		copied, err := ecdsa.ParseUncompressedPublicKey(k.Curve, point)
		if err != nil {
			return nil, fmt.Errorf("%w: the point is not on the curve", ErrWeak)
		}
		return copied, nil
	case *rsa.PublicKey:
		if f := schemes[alg].family; k == nil || k.N == nil || f != rsaPKCS1 && f != rsaPSS {
			return nil, wrongType(alg, "RSA")
		}
		k = &rsa.PublicKey{N: new(big.Int).Set(k.N), E: k.E}
		return k, checkRSA(k)
	}
	return nil, fmt.Errorf("%w: %T is no public key we know", ErrKey, key)
}

func wrongType(alg, kind string) error {
	return fmt.Errorf("%w: not an %s key for %s", ErrKey, kind, alg)
}

func checkRSA(k *rsa.PublicKey) error {
	bits := k.N.BitLen()
	switch {
	case k.N.Sign() <= 0 || bits < MinRSABits:
		return fmt.Errorf("%w: RSA modulus of %d bits, fewer than %d", ErrWeak, bits, MinRSABits)
	case bits > MaxRSABits:
		return fmt.Errorf("%w: RSA modulus of %d bits, more than %d", ErrKey, bits, MaxRSABits)
	case k.N.Bit(0) == 0:
		return fmt.Errorf("%w: even RSA modulus", ErrWeak)
	case k.E < 1<<16 || k.E > 1<<31-1 || k.E&1 == 0: // FIPS 186-5 section A.1.1
		return fmt.Errorf("%w: RSA exponent is not an odd number between 2¹⁶ and 2³¹", ErrWeak)
	case isROCA(k.N):
		return fmt.Errorf("%w: RSA modulus of a faulty generator (ROCA, CVE-2017-15361)", ErrWeak)
	}
	return nil
}

// rocaPrimes are the first odd primes, enough of them that a sound modulus looks
// faulty with probability below 2⁻²⁷.
var rocaPrimes = []uint64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
	97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167}

// isROCA reports whether n has the mark of CVE-2017-15361: modulo every small
// prime it is a power of 65537, because both of its factors are.
func isROCA(n *big.Int) bool {
	var q, r big.Int
	for _, p := range rocaPrimes {
		rest := r.Mod(n, q.SetUint64(p)).Uint64()
		power := uint64(1)
		for power != rest {
			if power = power * 65537 % p; power == 1 {
				return false
			}
		}
	}
	return true
}

// The field and the constant d of edwards25519 (RFC 8032 section 5.1).
var (
	edP = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	edD = func() *big.Int {
		d := new(big.Int).ModInverse(big.NewInt(121666), edP)
		return d.Mod(d.Mul(d, big.NewInt(-121665)), edP)
	}()
)

// checkEd25519 refuses what is no point, what has a second spelling, and points of
// small order, under which one signature fits every message.
func checkEd25519(k ed25519.PublicKey) error {
	if len(k) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: Ed25519 key of %d bytes", ErrKey, len(k))
	}
	le := slices.Clone(k)
	sign := le[31] >> 7
	le[31] &= 0x7f
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	if y.Cmp(edP) >= 0 {
		return fmt.Errorf("%w: Ed25519 key is not canonical", ErrWeak)
	}
	y2 := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Mul(edD, y2)
	v.Mod(v.Add(v, big.NewInt(1)), edP)
	x2 := u.Mod(u.Mul(u, v.ModInverse(v, edP)), edP) // v is never zero: −1/d is no square
	x := new(big.Int).ModSqrt(x2, edP)
	switch {
	case x == nil, x.Sign() == 0 && sign == 1:
		return fmt.Errorf("%w: Ed25519 key is no point of the curve", ErrWeak)
	case x.Sign() == 0, y.Sign() == 0, new(big.Int).Mod(y2.Add(y2, x2), edP).Sign() == 0: // order 1 or 2, 4, 8
		return fmt.Errorf("%w: Ed25519 key of small order", ErrWeak)
	}
	return nil
}

// CheckSecret refuses secrets that are too short for alg (RFC 7518 section 3.2), and
// those that are long without being random: one text repeated, bytes that count up or
// down, or made of fewer than eight different bytes. Random ones, in hex too, are so with probability below 2⁻³⁰.
func CheckSecret(alg string, secret []byte) error {
	s := schemes[alg]
	switch {
	case s.family != hmacFamily:
		return fmt.Errorf("%w: a secret is no key for %s", ErrKey, alg)
	case len(secret) < s.hash.Size():
		return fmt.Errorf("%w: secret of %d bytes, fewer than %d", ErrWeak, len(secret), s.hash.Size())
	case distinct(secret) < 8:
		return fmt.Errorf("%w: secret of %d different bytes, fewer than 8", ErrWeak, distinct(secret))
	case counts(secret):
		return fmt.Errorf("%w: secret counts up or down", ErrWeak)
	case repeats(secret):
		return fmt.Errorf("%w: secret is one text repeated", ErrWeak)
	}
	return nil
}

func distinct(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

// counts reports whether three of four bytes follow the one before them, as in 0, 1, 2
// and in the alphabet.
func counts(b []byte) bool {
	up, down := 0, 0
	for i := 1; i < len(b); i++ {
		switch b[i] - b[i-1] {
		case 1:
			up++
		case 255:
			down++
		}
	}
	return 4*max(up, down) >= 3*(len(b)-1)
}

// repeats reports whether b is one text twice or more, the last time perhaps cut.
func repeats(b []byte) bool {
	for period := 1; period <= len(b)/2; period++ {
		if bytes.Equal(b[period:], b[:len(b)-period]) {
			return true
		}
	}
	return false
}
