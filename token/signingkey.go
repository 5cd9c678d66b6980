package token

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// maxPrivateBytes bounds what [ParseSigningKey] reads: twice the PEM of the longest
// RSA key taken.
const maxPrivateBytes = 16 << 10

// A SigningKey signs tokens with one private key or secret, for one algorithm,
// under one kid. It never shows the key. It is immutable and safe for concurrent use.
type SigningKey struct {
	key    *Key
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
// Errors are those of [NewKey], and [ErrKey] for a private key whose parts do not
// belong together.
func NewSigningKey(kid string, alg Algorithm, signer crypto.Signer) (*SigningKey, error) {
	if signer == nil {
		return nil, fmt.Errorf("token: %w: the signer is nil", ErrKey)
	}
	alg = alg.one()
	if alg == "" {
		public, err := jose.PublicOf(signer)
		if err != nil {
			return nil, keyError(err)
		}
		if alg, err = soleAlgorithm(public); err != nil {
			return nil, err
		}
	}
	if alg.symmetric() {
		return nil, fmt.Errorf("token: %w: %s takes a secret: use NewSigningSecret", ErrKey, alg)
	}
	if err := checkKey(kid, alg); err != nil {
		return nil, err
	}
	s, err := jose.NewSigner(string(alg), signer)
	if err != nil {
		return nil, keyError(err)
	}
	return newSigningKey(kid, alg, s)
}

// soleAlgorithm returns the one algorithm for a public key.
func soleAlgorithm(public crypto.PublicKey) (Algorithm, error) {
	var sole Algorithm
	for _, alg := range publicAlgorithms {
		if _, err := jose.CheckPublic(string(alg), public); err != nil {
			continue
		}
		if sole != "" {
			return "", fmt.Errorf("token: %w: several algorithms fit the key: say which", ErrKey)
		}
		sole = alg
	}
	if sole == "" {
		return "", fmt.Errorf("token: %w: no algorithm fits the key", ErrKey)
	}
	return sole, nil
}

// NewSigningSecret returns the SigningKey of a secret for alg, one of [HS256],
// [HS384] and [HS512]. kid and secret are as for [NewSecretKey], whose warning holds:
// every service that verifies these tokens can also issue them.
func NewSigningSecret(kid string, alg Algorithm, secret []byte) (*SigningKey, error) {
	key, err := NewSecretKey(kid, alg, secret)
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
// Errors match [ErrKey], [ErrWeakKey] for keys too weak, and repeat nothing of data.
func ParseSigningKey(kid string, alg Algorithm, data []byte) (*SigningKey, error) {
	if len(data) > maxPrivateBytes {
		return nil, fmt.Errorf("token: %w: private key of %d bytes, more than %d", ErrKey, len(data), maxPrivateBytes)
	}
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		return parsePrivateJWK(kid, alg, text)
	}
	signer, err := jose.ParsePEM(data)
	if err != nil {
		return nil, keyError(err)
	}
	return NewSigningKey(kid, alg, signer)
}

// A privateKey is a private JWK as it was read.
type privateKey struct {
	foreignKey
	private jose.PrivateJWK
	signs   bool // key_ops holds "sign"
}

func (p *privateKey) member(name string, v strictjson.Value) error {
	if v.Kind() == 'n' { // as good as not there
		return nil
	}
	var dst *string
	switch name {
	case "d":
		dst = &p.private.D
	case "p":
		dst = &p.private.P
	case "q":
		dst = &p.private.Q
	case "dp":
		dst = &p.private.DP
	case "dq":
		dst = &p.private.DQ
	case "qi":
		dst = &p.private.QI
	case "k":
		dst = &p.private.K
	case "oth":
		return errors.New("RSA with more than two primes")
	case "key_ops":
		p.hasOps = true
		isArray, err := v.Elements(func(v strictjson.Value) error {
			op, _ := v.Text()
			p.signs = p.signs || op == "sign"
			return nil
		})
		if !isArray {
			return errors.New("key_ops is not an array")
		}
		return err
	default:
		return p.foreignKey.member(name, v)
	}
	text, ok := v.Text()
	if !ok {
		return fmt.Errorf("%s is not a string", name)
	}
	*dst = text
	return nil
}

func parsePrivateJWK(kid string, alg Algorithm, data []byte) (*SigningKey, error) {
	var p privateKey
	if err := strictjson.Object(data, p.member); err != nil {
		return nil, fmt.Errorf("token: %w: private JWK: %w", ErrKey, err)
	}
	alg = alg.one()
	own := Algorithm(p.alg).one()
	switch {
	case p.hasUse && p.use != "sig", p.hasOps && !p.signs:
		return nil, fmt.Errorf("token: %w: private JWK: not for signing", ErrKey)
	case kid != "" && p.kid != "" && kid != p.kid:
		return nil, fmt.Errorf("token: %w: private JWK: it has another kid", ErrKey)
	case p.hasAlg && !own.known():
		return nil, fmt.Errorf("token: %w: private JWK: its alg is not supported", ErrKey)
	case alg != "" && p.hasAlg && alg != own:
		return nil, fmt.Errorf("token: %w: private JWK: it is for another algorithm", ErrKey)
	}
	if kid == "" {
		kid = p.kid
	}
	if alg == "" && p.hasAlg {
		alg = own
	}
	p.private.JWK = p.JWK
	if p.Kty == "oct" {
		secret, err := p.private.Secret()
		if err != nil {
			return nil, keyError(err)
		}
		return NewSigningSecret(kid, alg, secret)
	}
	signer, err := p.private.Signer()
	if err != nil {
		return nil, keyError(err)
	}
	return NewSigningKey(kid, alg, signer)
}

// generateSigningKey makes a new key pair, named by its thumbprint.
func generateSigningKey(alg Algorithm) (*SigningKey, error) {
	s, err := jose.GenerateSigner(string(alg))
	if err != nil {
		return nil, keyError(err)
	}
	return newSigningKey("", alg, s)
}

func newSigningKey(kid string, alg Algorithm, s *jose.Signer) (*SigningKey, error) {
	key, err := NewKey(kid, alg, s.Public())
	if err != nil {
		return nil, err
	}
	return withHeader(key, s)
}

func withHeader(key *Key, s *jose.Signer) (*SigningKey, error) {
	kid, err := strictjson.AppendText(nil, key.id)
	if err != nil {
		return nil, fmt.Errorf("token: %w: kid: %w", ErrKey, err)
	}
	header := fmt.Sprintf(`{"alg":"%s","typ":"at+jwt","kid":%s}`, key.alg, kid)
	return &SigningKey{key, s, append(base64.RawURLEncoding.AppendEncode(nil, []byte(header)), '.')}, nil
}

// Key returns the half that verifies. From [NewSigningSecret] it is the secret.
func (k *SigningKey) Key() *Key { return k.key }

// String returns what [Key.String] does.
func (k SigningKey) String() string {
	if k.key == nil {
		return "token.SigningKey{}"
	}
	return "token.SigningKey{" + k.key.String() + "}"
}

// GoString returns [SigningKey.String].
func (k SigningKey) GoString() string { return k.String() }

// LogValue logs what [Key.LogValue] does.
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
