package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/placeholder"
)

// NewSecretKey returns the Key that verifies alg, one of [HS256], [HS384] and
// [HS512], with secret. Everybody who holds the secret can issue tokens: prefer a
// public key between services.
//
// kid is required: a name derived from the secret would stand in every token's
// header, where it helps to guess the secret (RFC 7638 section 7). For the same
// reason [Key.Thumbprint] is no RFC 7638 thumbprint here.
//
// secret is random bytes, at least as many as the hash has (RFC 7518 section 3.2);
// fewer are refused with [ErrKey], and so are a repeated text, bytes that count, and fewer than
// eight different bytes. That finds no password that is merely long: take bytes of crypto/rand. What
// stands for a secret is refused, too: a path, a reference to a vault, the name of a
// variable, a template that nobody filled in, a placeholder such as "change-me". So is
// what looks like a public key (PEM, JWK, SSH, DER): a verifier that takes one for an
// HMAC secret accepts tokens from everybody.
func NewSecretKey(kid string, alg Algorithm, secret []byte) (*Key, error) {
	if err := checkKey(kid, alg); err != nil {
		return nil, err
	}
	if kid == "" {
		return nil, fmt.Errorf("token: %w: a secret needs a kid", ErrKey)
	}
	if err := jose.CheckSecret(string(alg), secret); err != nil {
		return nil, keyError(err)
	}
	if what := placeholder.StandsFor(secret); what != "" {
		return nil, fmt.Errorf("token: %w: the secret is %s", ErrKey, what)
	}
	if kind := looksPublic(secret); kind != "" {
		return nil, fmt.Errorf("token: %w: the secret is a key in %s form, known to others", ErrKey, kind)
	}
	return &Key{id: kid, alg: alg, thumbprint: secretName(secret), verifier: jose.NewSecretVerifier(string(alg), secret)}, nil
}

// secretName returns the name by which events of kind key revoke what a secret
// signed: 43 characters, the same for all who hold the secret. It is the output of a
// function keyed by the secret and used for nothing else, so that it says no more
// about the secret than one token does.
func secretName(secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("hybridtoken: name of a secret key, version 1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// looksPublic returns the form of a public key that secret has, or "".
func looksPublic(secret []byte) string {
	text := bytes.TrimSpace(secret)
	for _, f := range []struct{ form, mark string }{
		{"PEM", "-----BEGIN "}, {"SSH", "ssh-rsa"}, {"SSH", "ssh-dss"}, {"SSH", "ssh-ed25519"}, {"SSH", "ecdsa-sha2-"},
	} {
		if bytes.Contains(text, []byte(f.mark)) {
			return f.form
		}
	}
	if isJWK(text) {
		return "JWK"
	}
	if isDER(secret) || isDER(text) {
		return "DER"
	}
	// The body of a PEM block, or the blob of an SSH key, without what surrounds it.
	one := bytes.Join(bytes.Fields(text), nil)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if der, err := enc.DecodeString(string(one)); err == nil && (isDER(der) || looksSSH(der)) {
			return "base64"
		}
	}
	return ""
}

func isJWK(text []byte) bool {
	has := false
	err := strictjson.Object(text, func(name string, _ strictjson.Value) error {
		has = has || name == "kty" || name == "keys"
		return nil
	})
	return err == nil && has
}

func isDER(b []byte) bool {
	if _, err := x509.ParsePKIXPublicKey(b); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PublicKey(b); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(b)
	return err == nil
}

// looksSSH reports whether b begins with the name of an SSH key type, as RFC 4253
// section 6.6 writes it.
func looksSSH(b []byte) bool {
	return bytes.HasPrefix(b, []byte("\x00\x00\x00\x07ssh-")) || bytes.HasPrefix(b, []byte("\x00\x00\x00\x0bssh-ed25519")) ||
		bytes.HasPrefix(b, []byte("\x00\x00\x00\x13ecdsa-sha2-"))
}
