package jose

import (
	"context"
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

// A Signer signs with one private key or secret for one algorithm. It is immutable
// and safe for concurrent use.
type Signer struct {
	public crypto.PublicKey // nil if there is a secret
	key    crypto.Signer    // nil unless it is in memory
	how    interface {
		sign(ctx context.Context, input []byte) ([]byte, error)
	}
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

// NewSigner returns a Signer for key, whose public half must suit alg. A key of the
// standard library is copied; any other is asked for each signature, and what it
// returns is checked.
func NewSigner(alg string, key crypto.Signer) (*Signer, error) {
	own, err := ownKey(alg, key)
	if err != nil {
		return nil, err
	}
	if own != nil {
		key = own
	}
	public, err := CheckPublic(alg, key.Public())
	if err != nil {
		return nil, err
	}
	if own == nil {
		how, err := newForeign(alg, key, public)
		return &Signer{public: public, how: how}, err
	}
	sign, err := jws.NewSigner(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, fmt.Errorf("%w: no signer for %q", ErrKey, alg)
	}
	return &Signer{public: public, key: own, how: &inMemory{jwa.SignatureAlgorithm(alg), own, sign}}, nil
}

// NewSecretSigner returns a Signer for a secret that [CheckSecret] accepts.
func NewSecretSigner(alg string, secret []byte) *Signer {
	return &Signer{how: newHMAC(alg, secret)}
}

// Public returns the public half of the key, or nil if there is a secret.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Sign returns the signature over input in the form of RFC 7518 section 3. ctx
// bounds the waiting for a key that is not in memory.
func (s *Signer) Sign(ctx context.Context, input []byte) ([]byte, error) {
	return s.how.sign(ctx, input)
}

// inMemory signs at once.
type inMemory struct {
	alg    jwa.SignatureAlgorithm
	key    crypto.Signer
	signer jws.Signer
}

func (m *inMemory) sign(_ context.Context, input []byte) ([]byte, error) {
	sig, err := m.signer.Sign(input, m.key)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", m.alg, err)
	}
	return sig, nil
}

func (v *hmacVerifier) sign(_ context.Context, input []byte) ([]byte, error) {
	mac := v.mac()
	mac.Write(input)
	return mac.Sum(nil), nil
}
