package token_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// TestForgottenVerifiersNameNoIssuer: a service that makes a Verifier for each customer
// keeps no customer's issuer in its List longer than that Verifier. One that is used
// keeps its own.
func TestForgottenVerifiersNameNoIssuer(t *testing.T) {
	list := forge.LocalList(t, revoke.Config{})
	ring := forge.Ring(t, issue.KeyringConfig{})
	verifier := func(iss string) *token.Verifier {
		v, err := token.NewVerifier(token.VerifierConfig{Issuer: iss, Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	kept := verifier("https://kept.example.com")
	for i := range 300 {
		verifier(fmt.Sprintf("https://customer-%d.example.com", i))
	}
	again := verifier("https://kept.example.com") // which goes, and takes one of two namings back
	runtime.KeepAlive(again)
	deadline := time.Now().Add(30 * time.Second)
	for n := -1; n != 1; {
		runtime.GC()
		n = len(list.ExpectedIssuers())
		if n == 0 || time.Now().After(deadline) {
			t.Fatalf("%d issuers are named, want the one whose Verifier is in use", n)
		}
		runtime.Gosched()
	}
	runtime.GC()
	if got := list.ExpectedIssuers(); len(got) != 1 || got[0] != "https://kept.example.com" {
		t.Errorf("issuers %q", got)
	}
	runtime.KeepAlive(kept)
	if list.Stats(revoke.Now()).ForeignIssuer != 0 {
		t.Error("foreign events from nowhere")
	}
}
