package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// rsaBits is the size of new RSA keys: 128 bits of security (NIST SP 800-57).
const rsaBits = 3072

// A Signer signs with one private key for one algorithm. It is immutable and safe
// for concurrent use if its key is.
type Signer struct {
	alg  jwa.SignatureAlgorithm
	key  crypto.Signer
	sign jws.Signer
}

// GenerateSigner makes a new private key for alg, which must not be symmetric.
func GenerateSigner(alg string) (*Signer, error) {
	var key crypto.Signer
	var err error
	switch s := schemes[alg]; s.family {
	case eddsa:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case ecdsaFamily:
		key, err = ecdsa.GenerateKey(s.curve, rand.Reader)
	case rsaPKCS1, rsaPSS:
		key, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		err = fmt.Errorf("%w: %q has no key pairs", ErrKey, alg)
	}
	if err != nil {
		return nil, err
	}
	return NewSigner(alg, key)
}

// NewSigner returns a Signer for key, whose public half must suit alg.
func NewSigner(alg string, key crypto.Signer) (*Signer, error) {
	if _, err := CheckPublic(alg, key.Public()); err != nil {
		return nil, err
	}
	sign, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, fmt.Errorf("%w: no signer for %q", ErrKey, alg)
	}
	return &Signer{jwa.SignatureAlgorithm(alg), key, sign}, nil
}

// Public returns the public half of the key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Sign returns the signature over input in the form of RFC 7518 section 3.
func (s *Signer) Sign(input []byte) ([]byte, error) {
	sig, err := s.sign.Sign(input, s.key)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", s.alg, err)
	}
	return sig, nil
}
