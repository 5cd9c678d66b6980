package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
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

// A client and a user of the same name are two. What revokes one spares the
// other, so that nobody gains by choosing a name.
func TestClientsAreNoSubjects(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	claims := forge.Claims(time.Now())
	user := ed.Forge(ed.Header(), claims.With("sub", `"same"`))
	client := ed.Forge(ed.Header(), claims.With("client_id", `"same"`))
	for _, x := range []struct {
		kind            revoke.Kind
		refused, spared string
	}{{revoke.KindSubject, user, client}, {revoke.KindClient, client, user}} {
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Revocations, c.InsecureNoRevocations = list, false
		})
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: x.kind, Value: "same"})
		if _, err := v.Verify(t.Context(), x.refused); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%s: error %v", x.kind, err)
		}
		if _, err := v.Verify(t.Context(), x.spared); err != nil {
			t.Errorf("%s: the namesake is refused: %v", x.kind, err)
		}
	}
}

// CVE-2026-35039: tokens that are alike in all but sub keep their own claims, in
// whatever order they come and however often.
func TestTokensAlikeAreNotMixedUp(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	claims := forge.Claims(time.Now())
	raw := map[string]string{}
	for _, sub := range []string{"user-1", "user-2"} {
		raw[sub] = ed.Forge(ed.Header(), claims.With("sub", `"`+sub+`"`))
	}
	for _, sub := range []string{"user-1", "user-2", "user-1", "user-1", "user-2"} {
		c, err := v.Verify(t.Context(), raw[sub])
		if err != nil || c.Subject() != sub {
			t.Errorf("%s: claims %v, error %v", sub, c, err)
		}
	}
	// One's signature under the other's claims.
	i, j := strings.LastIndexByte(raw["user-1"], '.'), strings.LastIndexByte(raw["user-2"], '.')
	if _, err := v.Verify(t.Context(), raw["user-1"][:i]+raw["user-2"][j:]); !errors.Is(err, token.ErrSignature) {
		t.Errorf("mixed: error %v", err)
	}
}
