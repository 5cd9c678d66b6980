package token_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// Each error has one word, also where it is of another's family, and stays of its own
// family. The documentation of Cause has all the words.
func TestCause(t *testing.T) {
	text, err := os.ReadFile("cause.go")
	if err != nil {
		t.Fatal(err)
	}
	doc := regexp.MustCompile(`(?s)// Cause returns one word.*?\nfunc Cause`).FindString(string(text))
	words := map[string]bool{}
	for _, c := range []struct {
		err, family error
		word        string
	}{
		{nil, nil, ""},
		{errors.New("of somebody else"), nil, "other"},
		{token.ErrTooLarge, token.ErrInvalidToken, "too_large"},
		{token.ErrMalformed, token.ErrInvalidToken, "malformed"},
		{token.ErrAlgorithm, token.ErrInvalidToken, "algorithm"},
		{token.ErrType, token.ErrInvalidToken, "type"},
		{token.ErrUnknownKey, token.ErrInvalidToken, "unknown_key"},
		{token.ErrSignature, token.ErrInvalidToken, "signature"},
		{token.ErrClaims, token.ErrInvalidToken, "claims"},
		{token.ErrIssuer, token.ErrInvalidToken, "issuer"},
		{token.ErrAudience, token.ErrInvalidToken, "audience"},
		{token.ErrExpired, token.ErrInvalidToken, "expired"},
		{token.ErrNotYetValid, token.ErrInvalidToken, "not_yet_valid"},
		{token.ErrLifetime, token.ErrInvalidToken, "lifetime"},
		{token.ErrBinding, token.ErrInvalidToken, "binding"},
		{token.ErrProof, token.ErrBinding, "proof"},
		{token.ErrNonce, token.ErrProof, "nonce"},
		{token.ErrReplayed, token.ErrProof, "replayed"},
		{revoke.ErrRevoked, nil, "revoked"},
		{token.ErrInsufficientScope, token.ErrInsufficient, "scope"},
		{token.ErrInsufficientAuthentication, token.ErrInsufficient, "authentication"},
		{token.ErrKeysUnavailable, token.ErrUnavailable, "keys_unavailable"},
		{token.ErrReplayCacheFull, token.ErrUnavailable, "proofs_full"},
		{revoke.ErrStale, nil, "stale"},
		{token.ErrUnavailable, token.ErrUnavailable, "unavailable"},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("why: %w", err)
		}
		if got := token.Cause(err); got != c.word {
			t.Errorf("%v: %q, want %q", c.err, got, c.word)
		}
		if c.family != nil && !errors.Is(err, c.family) {
			t.Errorf("%v is not of the family %v", c.err, c.family)
		}
		if c.word != "" && !regexp.MustCompile(`\b`+c.word+`\b`).MatchString(strings.TrimPrefix(doc, "// Cause returns one word")) {
			t.Errorf("the documentation of Cause lacks %s", c.word)
		}
		words[c.word] = true
	}
	for _, word := range token.Causes() {
		if !words[word] {
			t.Errorf("%s is not tested", word)
		}
	}
	if n := len(token.Causes()); n < 20 || !slices.Contains(token.Causes(), "other") {
		t.Errorf("%d words", n)
	}
}
