package token_test

import (
	"crypto/rand"
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What a configuration holds in place of a secret is none, however long it is.
func TestSecretsThatStandForOthers(t *testing.T) {
	for _, secret := range []string{
		"/run/secrets/auth-example-com-hmac-signing-secret", "/run/secrets/auth_example_com/hmac_signing_secret", "./secrets/production/hmac-signing-secret-2026",
		"../secrets/production/Hmac.Signing-Secret-2026", "~/.config/auth.example.com/hmac-signing", `C:\\ProgramData\\auth.example.com\\hmac-secret`, `C:\ProgramData\auth.example.com\hmac-secret`,
		"secrets/production/auth/hmac_signing_secret", "/etc/auth.example.com/tokens/hmac.secret", "/VAR/lib/auth.example.com/HMAC_SECRET_2026", "/Users/alice/Library/Application Support/auth/secret", "kubernetes.io/secrets/auth/hmac-signing.yaml",
		"file:///run/secrets/auth.example.com/hmac-secret", "vault:secret/data/auth/hmac#signing-key-2026", "vault://secret/data/auth/hmac-signing-key", "op://production/auth.example.com/hmac-secret",
		"arn:aws:secretsmanager:eu-central-1:123456789012:secret:auth/hmac-AbCdEf", "projects/acme-prod/secrets/hmac-signing/versions/latest", "https://vault.example.com/v1/secret/data/auth", "ref+vault://secret/auth/hmac-signing-key", "env:JWT_SIGNING_SECRET_FOR_PRODUCTION",
		"JWT_SIGNING_SECRET_FOR_PRODUCTION_USE", "${JWT_SIGNING_SECRET_FOR_PRODUCTION}", "$JWT_SIGNING_SECRET_FOR_PRODUCTION_", "%JWT_SIGNING_SECRET_FOR_PRODUCTION%", "$(cat /run/secrets/hmac | base64 -d)",
		"{{ .Values.auth.jwtSecret | b64dec | quote }}", "<the 256 bits that production signs with>", "[the secret that production signs with]", "%(jwt_signing_secret_for_production)s", "ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=]",
		"change-me-change-me-please-change-me!", "CHANGE_ME_BEFORE_YOU_GO_TO_PRODUCTION", "please change this to something random", "your-256-bit-secret-goes-right-here", "replace-with-a-long-and-random-string", "this-is-a-place-holder-for-the-real-one",
		"my-super-secret-key-that-is-32-bytes!", "insecure-development-key-0123456789", "Do not use this one in production, ok", "supersecretsupersecretsupersecret123", "secret_key_secret_key_secret_key_123",
	} {
		for what, err := range map[string]error{
			"NewSecretKey":     second(token.NewSecretKey("k", token.HS256, []byte(secret))),
			"NewSigningSecret": second(issue.NewSigningSecret("k", token.HS256, []byte(secret+"\n"))),
		} {
			if !errors.Is(err, token.ErrKey) {
				t.Errorf("%s(%q): error %v", what, secret, err)
			} else if forge.Leaks(err.Error(), secret) != "" {
				t.Errorf("%s(%q): the error repeats it: %v", what, secret, err)
			}
		}
	}
	for _, key := range []string{"/run/secrets/ring-seal-key-0001", "/run/secrets/ring-seal-key-00001", "RING_SEAL_KEY_FOR_PRODUCTION_USE", "change-me-change-me-please-chang"} {
		if _, err := issue.NewSealKey("s", []byte(key)); len(key) == 32 && !errors.Is(err, token.ErrKey) {
			t.Errorf("NewSealKey(%q): error %v", key, err)
		}
		if len(key) != 32 {
			continue
		}
		if _, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://api.example.com", RequireNonce: true, NonceKeys: []*[32]byte{(*[32]byte)([]byte(key))}}); err == nil {
			t.Errorf("NewDPoP with the nonce key %q: no error", key)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Random secrets pass, in whatever form they are kept.
func TestRandomSecretsStandForNothing(t *testing.T) {
	const printable = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,-./:;<=>?@[]^_{|}~"
	b := make([]byte, 48)
	for range 2_000 {
		rand.Read(b)
		password := make([]byte, len(b))
		for i, c := range b {
			password[i] = printable[int(c)%len(printable)]
		}
		ascii := make([]byte, ascii85.MaxEncodedLen(len(b)))
		ascii85.Encode(ascii, b)
		for form, secret := range map[string]string{
			"bytes": string(b[:32]), "hex": hex.EncodeToString(b[:32]), "base64": base64.StdEncoding.EncodeToString(b[:32]), "base64url": base64.RawURLEncoding.EncodeToString(b[:32]),
			"base32": base32.StdEncoding.EncodeToString(b[:32]), "a password": string(password), "Ascii85": string(ascii),
			"UUIDs": fmt.Sprintf("%x-%x-%x-%x-%x%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16], b[16:32]),
		} {
			if _, err := token.NewSecretKey("k", token.HS256, []byte(secret)); err != nil {
				t.Fatalf("%s: %q: %v", form, secret, err)
			}
		}
	}
}
