package token

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// A KeySet finds the keys of one issuer. Implementations are safe for concurrent use.
type KeySet interface {
	// Lookup returns the key with that kid for that algorithm. An empty kid, that of
	// a token without one, finds a key only if exactly one is for alg. The error
	// matches [ErrUnknownKey] if there is no such key, and [ErrKeysUnavailable] if
	// that cannot be known now. ctx bounds only the waiting.
	Lookup(ctx context.Context, kid string, alg Algorithm) (*Key, error)
}

// A Key verifies signatures of one algorithm. It is immutable. A Key holds a public
// key or, from [NewSecretKey], a secret, and never shows the secret.
type Key struct {
	id         string
	alg        Algorithm
	thumbprint string
	jwk        []byte // the public JWK; nil if there is a secret
	verifier   jose.Verifier
	issuer     string // that its published set says it is of; empty if that says none
}

// ID returns the kid.
func (k *Key) ID() string { return k.id }

// Algorithm returns the one algorithm that the key is for.
func (k *Key) Algorithm() Algorithm { return k.alg }

// Thumbprint returns the RFC 7638 thumbprint (SHA-256, base64url), by which events
// of kind [github.com/hybridtoken/hybridtoken/revoke.KindKey] name the key. Of a secret
// it is a name of the same form, which all who hold the secret compute alike.
func (k *Key) Thumbprint() string { return k.thumbprint }

// Revocation returns the event that revokes every token signed with the key, for the
// issuer that publishes it. To end a leaked key, publish it first and then remove
// the key from its ring: the event works within milliseconds, the removal when
// verifiers read the keys again.
func (k *Key) Revocation() revoke.Event {
	return revoke.Event{Kind: revoke.KindKey, Value: k.thumbprint}
}

// String returns kid, algorithm and, of a public key, the thumbprint.
func (k Key) String() string {
	if k.alg.symmetric() {
		return fmt.Sprintf("token.Key{kid: %q, alg: %s}", k.id, k.alg)
	}
	return fmt.Sprintf("token.Key{kid: %q, alg: %s, thumbprint: %s}", k.id, k.alg, k.thumbprint)
}

// GoString returns [Key.String].
func (k Key) GoString() string { return k.String() }

// LogValue logs what [Key.String] returns.
func (k Key) LogValue() slog.Value {
	if k.alg.symmetric() {
		return slog.GroupValue(slog.String("kid", k.id), slog.String("alg", string(k.alg)))
	}
	return slog.GroupValue(slog.String("kid", k.id), slog.String("alg", string(k.alg)), slog.String("thumbprint", k.thumbprint))
}

// verify reports whether signature is the key's over signingInput.
func (k *Key) verify(signingInput, signature []byte) error {
	if k.verifier == nil || !k.verifier.Verify(signingInput, signature) {
		return errSignature
	}
	return nil
}

// NewKey returns the Key that verifies alg with public: an ed25519.PublicKey, a
// *ecdsa.PublicKey on the curve of alg, or a *rsa.PublicKey. An empty kid stands
// for the thumbprint.
//
// The error matches [ErrKey]: for a weak key (an RSA modulus below 2048 bits, RFC 7518
// section 3.3, with a bad exponent or made by a faulty generator; a point that is not
// on its curve or of small order), and for a private key too.
func NewKey(kid string, alg Algorithm, public crypto.PublicKey) (*Key, error) {
	alg = alg.one()
	if err := checkKey(kid, alg); err != nil {
		return nil, err
	}
	if alg.symmetric() {
		return nil, fmt.Errorf("token: %w: %s takes a secret: use NewSecretKey", ErrKey, alg)
	}
	public, err := jose.CheckPublic(string(alg), public)
	if err != nil {
		return nil, keyError(err)
	}
	k := &Key{id: kid, alg: alg}
	if k.thumbprint, err = jose.Thumbprint(public); err != nil {
		return nil, keyError(err)
	}
	if k.id == "" {
		k.id = k.thumbprint
	}
	if k.jwk, err = jose.MarshalPublic(public, k.id, string(alg)); err != nil {
		return nil, keyError(err)
	}
	if k.verifier, err = jose.NewVerifier(string(alg), public); err != nil {
		return nil, keyError(err)
	}
	return k, nil
}

func checkKey(kid string, alg Algorithm) error {
	switch {
	case !alg.known():
		return fmt.Errorf("token: %w: algorithm %q is not supported", ErrKey, alg)
	case len(kid) > maxKeyIDBytes:
		return fmt.Errorf("token: %w: kid has %d bytes, more than %d", ErrKey, len(kid), maxKeyIDBytes)
	case !utf8.ValidString(kid):
		return fmt.Errorf("token: %w: kid is not valid UTF-8", ErrKey)
	}
	return nil
}

// keyError puts an error of package jose into our family.
func keyError(err error) error { return fmt.Errorf("token: %w: %w", ErrKey, err) }
