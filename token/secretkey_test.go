package token_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// CVE-2021-41106: long is not strong. The good twins are random secrets of
// the same length, in the encodings that people store them in.
func TestWeakSecretsAreRefused(t *testing.T) {
	for name, x := range map[string]struct {
		secret string
		want   error
	}{
		"a password repeated":          {strings.Repeat("correct horse!", 5), token.ErrWeakKey},
		"a password repeated, cut":     {strings.Repeat("Tr0ub4dor&3", 6)[:50], token.ErrWeakKey},
		"two bytes in turn":            {strings.Repeat("ab", 32), token.ErrWeakKey},
		"seven different bytes":        {strings.Repeat("aabcdefgg", 4) + "abcdefg", token.ErrWeakKey},
		"bytes that count":             {string(counting(0, 1)), token.ErrWeakKey},
		"bytes that count down":        {string(counting(255, -1)), token.ErrWeakKey},
		"an alphabet":                  {"abcdefghijklmnopqrstuvwxyz0123456789", token.ErrWeakKey},
		"a path":                       {"/etc/secrets/auth.example.com/signing.pem", token.ErrKey},
		"a relative path and newline":  {"../secrets/auth.example.com/hmac-signing.KEY\n", token.ErrKey},
		"a file URL":                   {"file:///run/secrets/auth.example.com/hmac-secret", token.ErrKey},
		"random, in hex":               {"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", nil},
		"random, in base64":            {"n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", nil},
		"random, in base64 with paths": {"/etc/QgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", nil},
	} {
		_, err := token.NewSecretKey("k", token.HS256, []byte(x.secret))
		_, signing := issue.NewSigningSecret("k", token.HS256, []byte(x.secret))
		for _, err := range []error{err, signing} {
			if !errors.Is(err, x.want) || x.want != nil && !errors.Is(err, token.ErrKey) {
				t.Errorf("%s: error %v, want %v", name, err, x.want)
			}
			if err != nil && forge.Leaks(err.Error(), x.secret) != "" {
				t.Errorf("%s: the error %q repeats the secret (invariant 10)", name, err)
			}
		}
	}
}

// counting returns 32 bytes that count from the first.
func counting(first, step int) []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(first + i*step)
	}
	return b
}
