package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"
)

// A Verifier checks signatures with one key for one algorithm. It is immutable.
type Verifier interface {
	// Verify reports whether signature is the key's over input, of exactly the form
	// that the algorithm prescribes.
	Verify(input, signature []byte) bool
}

// NewVerifier returns a Verifier for a key that [CheckPublic] returned.
func NewVerifier(alg string, key crypto.PublicKey) (Verifier, error) {
	s := schemes[alg]
	switch k := key.(type) {
	case ed25519.PublicKey:
		if s.family == eddsa {
			return &edVerifier{k}, nil
		}
	case *ecdsa.PublicKey:
		if s.family == ecdsaFamily {
			return &ecVerifier{k, s}, nil
		}
	case *rsa.PublicKey:
		if s.family == rsaPKCS1 || s.family == rsaPSS {
			return &rsaVerifier{k, s}, nil
		}
	}
	return nil, fmt.Errorf("%w: %T for %s", ErrKey, key, alg)
}

// NewSecretVerifier returns a Verifier for a secret that [CheckSecret] accepts.
func NewSecretVerifier(alg string, secret []byte) Verifier { return newHMAC(alg, secret) }

func newHMAC(alg string, secret []byte) *hmacVerifier {
	secret = slices.Clone(secret)
	newHash := schemes[alg].hash.New
	return &hmacVerifier{func() hash.Hash { return hmac.New(newHash, secret) }}
}

type edVerifier struct{ key ed25519.PublicKey }

func (v *edVerifier) Verify(input, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(v.key, input, signature)
}

type ecVerifier struct {
	key    *ecdsa.PublicKey
	scheme scheme
}

// Verify takes r ‖ s, each as long as a coordinate (RFC 7518 section 3.4).
func (v *ecVerifier) Verify(input, signature []byte) bool {
	size := v.scheme.size
	if len(signature) != 2*size {
		return false
	}
	var stack [144]byte
	r := appendInteger(stack[:3], signature[:size]) // room for the header of the sequence
	der := appendInteger(r, signature[size:])
	// The header stands right before the integers, wherever that leaves its start.
	content := len(der) - 3
	start := 1
	if content > 127 {
		start = 0
		der[1] = 0x81
	}
	der[start], der[2] = 0x30, byte(content)
	var digest [sha512.Size]byte
	return ecdsa.VerifyASN1(v.key, sum(v.scheme.hash, &digest, input), der[start:])
}

// appendInteger appends the DER of the unsigned big-endian number b.
func appendInteger(dst, b []byte) []byte {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	if b[0] > 127 {
		dst = append(dst, 2, byte(len(b)+1), 0)
	} else {
		dst = append(dst, 2, byte(len(b)))
	}
	return append(dst, b...)
}

type rsaVerifier struct {
	key    *rsa.PublicKey
	scheme scheme
}

func (v *rsaVerifier) Verify(input, signature []byte) bool {
	if len(signature) != v.key.Size() {
		return false
	}
	var stack [sha512.Size]byte
	digest := sum(v.scheme.hash, &stack, input)
	if v.scheme.family == rsaPSS {
		// The salt is as long as the hash (RFC 7518 section 3.5).
		return rsa.VerifyPSS(v.key, v.scheme.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(v.key, v.scheme.hash, digest, signature) == nil
}

// An hmacVerifier hides its secret in a function: fmt with a verb that does not fit
// prints what pointers point to, through every unexported field.
type hmacVerifier struct {
	mac func() hash.Hash
}

func (v *hmacVerifier) Verify(input, signature []byte) bool {
	mac := v.mac()
	mac.Write(input)
	return hmac.Equal(mac.Sum(nil), signature)
}

func sum(h crypto.Hash, buf *[sha512.Size]byte, input []byte) []byte {
	switch h {
	case crypto.SHA256:
		d := sha256.Sum256(input)
		return append(buf[:0], d[:]...)
	case crypto.SHA384:
		d := sha512.Sum384(input)
		return append(buf[:0], d[:]...)
	}
	*buf = sha512.Sum512(input)
	return buf[:]
}
