package forge

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func Ring(t testing.TB, cfg issue.KeyringConfig) *issue.Keyring {
	t.Helper()
	ring, err := issue.NewEphemeralKeyring(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func NewIssuer(t testing.TB, ring *issue.Keyring, change func(*issue.Config)) *issue.Issuer {
	t.Helper()
	cfg := issue.Config{Issuer: Issuer, Keys: ring}
	if change != nil {
		change(&cfg)
	}
	i, err := issue.NewIssuer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func RingVerifier(t testing.TB, keys token.KeySet, alg token.Algorithm) *token.Verifier {
	return Verifier(t, func(c *token.VerifierConfig) { c.Algorithms, c.Keys = []token.Algorithm{alg}, keys })
}

func Request() issue.Request {
	return issue.Request{Subject: "user-1", Client: "web", Audience: []string{Audience}}
}

func Issue(t testing.TB, i *issue.Issuer, r issue.Request) *issue.Token {
	t.Helper()
	issued, err := i.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// PayloadOf returns the JSON of a token's claims.
func PayloadOf(t testing.TB, raw string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

func HeaderOf(t testing.TB, raw string) string {
	t.Helper()
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(header)
}
