package issue

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/issue/internal/privatekey"
)

// maxPrivateBytes bounds what [ParseSigningKey] reads: twice the PEM of the longest
// RSA key taken.
const maxPrivateBytes = 16 << 10

// A SigningKey signs tokens with one private key or secret, for one algorithm,
// under one kid. It never shows the key. It is immutable and safe for concurrent use.
type SigningKey struct {
	key    *token.Key
	signer *jose.Signer
	header []byte // of every token it signs, encoded, with the dot
}

// NewSigningKey returns the SigningKey of a key pair, for alg under kid. An empty
// kid stands for the RFC 7638 thumbprint of the public half. An empty alg stands for
// the one algorithm that fits the key; an RSA key has several and must be told.
//
// signer is an ed25519.PrivateKey, *ecdsa.PrivateKey or *rsa.PrivateKey, which is
// copied, or any other [crypto.Signer], such as a key in a KMS. Of such a signer:
//
//   - It is asked for each token, with what the standard library's own keys take:
//     the message and crypto.Hash(0) for EdDSA; otherwise the digest and its hash,
//     within [crypto/rsa.PSSOptions] for the PS algorithms. For ECDSA it returns DER.
//   - Every signature is verified before it is used: one that is for another
//     algorithm or key is an error of [Issuer.Issue].
//   - It may be slow and may fail. It knows no context: a call whose caller went away
//     goes on in a goroutine. At most 64 are under way; others wait, as long as
//     their context allows.
//   - Its Public is called once, here.
//
// Errors are those of [token.NewKey], and [token.ErrKey] for a private key whose parts do not
// belong together.
func NewSigningKey(kid string, alg token.Algorithm, signer crypto.Signer) (*SigningKey, error) {
	if signer == nil {
		return nil, fmt.Errorf("issue: %w: the signer is nil", token.ErrKey)
	}
	alg = jose.One(alg)
	if alg == "" {
		public, err := jose.PublicOf(signer)
		if err != nil {
			return nil, keyError(err)
		}
		if alg, err = soleAlgorithm(public); err != nil {
			return nil, err
		}
	}
	if jose.Symmetric(string(alg)) {
		return nil, fmt.Errorf("issue: %w: %s takes a secret: use NewSigningSecret", token.ErrKey, alg)
	}
	s, err := jose.NewSigner(string(alg), signer)
	if err != nil {
		return nil, keyError(err)
	}
	return newSigningKey(kid, alg, s)
}

// soleAlgorithm returns the one algorithm for a public key.
func soleAlgorithm(public crypto.PublicKey) (token.Algorithm, error) {
	alg, n := jose.Sole(public)
	switch n {
	case 0:
		return "", fmt.Errorf("issue: %w: no algorithm fits the key", token.ErrKey)
	case 1:
		return token.Algorithm(alg), nil
	}
	return "", fmt.Errorf("issue: %w: several algorithms fit the key: say which", token.ErrKey)
}

// NewSigningSecret returns the SigningKey of a secret for alg, one of [token.HS256],
// [token.HS384] and [token.HS512]. kid and secret are as for [token.NewSecretKey], whose warning holds:
// every service that verifies these tokens can also issue them.
func NewSigningSecret(kid string, alg token.Algorithm, secret []byte) (*SigningKey, error) {
	key, err := token.NewSecretKey(kid, alg, secret)
	if err != nil {
		return nil, err
	}
	return withHeader(key, jose.NewSecretSigner(string(alg), secret))
}

// ParseSigningKey reads a key from data, at most 16 KiB: a PEM file with one private
// key that is not encrypted (PKCS #8, PKCS #1 or SEC 1), or a private JWK (RFC 7517).
// kid and alg are as for [NewSigningKey]; empty ones are taken from a JWK first, and
// others must agree with it. A JWK of kty oct is a secret, as for [NewSigningSecret].
//
// Errors match [token.ErrKey] and repeat nothing of data.
func ParseSigningKey(kid string, alg token.Algorithm, data []byte) (*SigningKey, error) {
	if len(data) > maxPrivateBytes {
		return nil, fmt.Errorf("issue: %w: private key of %d bytes, more than %d", token.ErrKey, len(data), maxPrivateBytes)
	}
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		return parsePrivateJWK(kid, alg, text)
	}
	signer, err := privatekey.PEM(data)
	if err != nil {
		return nil, keyError(err)
	}
	return NewSigningKey(kid, alg, signer)
}

func parsePrivateJWK(kid string, alg token.Algorithm, data []byte) (*SigningKey, error) {
	j, err := privatekey.ParseJWK(data)
	if err != nil {
		return nil, fmt.Errorf("issue: %w: private JWK: %w", token.ErrKey, err)
	}
	alg = jose.One(alg)
	own := token.Algorithm(jose.One(j.Alg))
	switch {
	case !j.ForSigning():
		return nil, fmt.Errorf("issue: %w: private JWK: not for signing", token.ErrKey)
	case kid != "" && j.KID != "" && kid != j.KID:
		return nil, fmt.Errorf("issue: %w: private JWK: it has another kid", token.ErrKey)
	case own != "" && !jose.Known(string(own)):
		return nil, fmt.Errorf("issue: %w: private JWK: its alg is not supported", token.ErrKey)
	case alg != "" && own != "" && alg != own:
		return nil, fmt.Errorf("issue: %w: private JWK: it is for another algorithm", token.ErrKey)
	}
	if kid == "" {
		kid = j.KID
	}
	if alg == "" {
		alg = own
	}
	if j.Kty == "oct" {
		secret, err := j.Secret()
		if err != nil {
			return nil, keyError(err)
		}
		return NewSigningSecret(kid, alg, secret)
	}
	signer, err := j.Signer()
	if err != nil {
		return nil, keyError(err)
	}
	return NewSigningKey(kid, alg, signer)
}

// generateSigningKey makes a new key pair, named by its thumbprint.
func generateSigningKey(alg token.Algorithm) (*SigningKey, error) {
	s, err := jose.GenerateSigner(string(alg))
	if err != nil {
		return nil, keyError(err)
	}
	return newSigningKey("", alg, s)
}

func newSigningKey(kid string, alg token.Algorithm, s *jose.Signer) (*SigningKey, error) {
	key, err := token.NewKey(kid, alg, s.Public())
	if err != nil {
		return nil, err
	}
	return withHeader(key, s)
}

func withHeader(key *token.Key, s *jose.Signer) (*SigningKey, error) {
	kid, err := strictjson.AppendText(nil, key.ID())
	if err != nil {
		return nil, fmt.Errorf("issue: %w: kid: %w", token.ErrKey, err)
	}
	header := fmt.Sprintf(`{"alg":"%s","typ":"at+jwt","kid":%s}`, key.Algorithm(), kid)
	return &SigningKey{key, s, append(base64.RawURLEncoding.AppendEncode(nil, []byte(header)), '.')}, nil
}

// Key returns the half that verifies. From [NewSigningSecret] it is the secret.
func (k *SigningKey) Key() *token.Key { return k.key }

// String returns what [token.Key.String] does.
func (k SigningKey) String() string {
	if k.key == nil {
		return "issue.SigningKey{}"
	}
	return "issue.SigningKey{" + k.key.String() + "}"
}

// GoString returns [SigningKey.String].
func (k SigningKey) GoString() string { return k.String() }

// LogValue logs what [token.Key.LogValue] does.
func (k SigningKey) LogValue() slog.Value {
	if k.key == nil {
		return slog.Value{}
	}
	return k.key.LogValue()
}

// sign returns the token with that payload.
func (k *SigningKey) sign(ctx context.Context, payload []byte) (string, error) {
	raw := base64.RawURLEncoding.AppendEncode(slices.Clone(k.header), payload)
	signature, err := k.signer.Sign(ctx, raw)
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(raw, '.'), signature)), nil
}
