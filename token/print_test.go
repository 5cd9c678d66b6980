package token_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// TestNothingPrintsASecret prints every exported type in every way, while its methods are
// called, and looks for each secret in every form (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	var nonce [32]byte
	rand.Read(nonce[:])
	shared := []byte("a secret that no way of printing may show")
	symmetric, err := token.NewSecretKey("symmetric", token.HS256, shared)
	if err != nil {
		t.Fatal(err)
	}
	dpopConfig := token.DPoPConfig{BaseURL: "https://api.example.com", NonceKeys: []*[32]byte{&nonce}, RequireNonce: true}
	dpop, err := token.NewDPoP(dpopConfig)
	if err != nil {
		t.Fatal(err)
	}
	set, err := token.NewStaticKeySet(symmetric)
	if err != nil {
		t.Fatal(err)
	}
	ring := forge.Ring(t, issue.KeyringConfig{})
	issuer := forge.NewIssuer(t, ring, nil)
	issued := forge.Issue(t, issuer, forge.Request())
	list := forge.LocalList(t, revoke.Config{})
	verifierConfig := token.VerifierConfig{Issuer: "https://auth.example.com", Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list, DPoP: dpop}
	verifier, err := token.NewVerifier(verifierConfig)
	if err != nil {
		t.Fatal(err)
	}
	sender := token.Sender{Proof: issued.Raw(), Method: "GET", URL: "https://api.example.com/"}

	table := map[string]any{
		"Sender": sender, "Claims": issued.Claims(), "DPoP": dpop, "DPoPConfig": dpopConfig,
		"Key": symmetric, "StaticKeySet": set,
		"Verifier": verifier, "VerifierConfig": verifierConfig, "RemoteKeySet": new(token.RemoteKeySet),
		"KeySet": token.KeySet(ring), "VerifyOption": token.WithSender(sender),
	}
	// These hold nothing that is secret.
	public := []string{"Algorithm", "Binding", "ConfigError", "ForwardAuthConfig", "IssuedAhead", "Profile", "RemoteKeySetConfig", "RemoteKeySetStatus", "VerifierStatus"}
	printtest.HoldsAll(t, ".", table, public...)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			verifier.Verify(t.Context(), issued.Raw())
			dpop.Nonce()
		}
	})
	secrets := map[string][]byte{
		"shared secret": shared, "nonce key": nonce[:],
		"token": []byte(issued.Raw()[len(issued.Raw())-60:]), "payload": []byte(strings.Split(issued.Raw(), ".")[1][8:40]),
	}
	for name, v := range table {
		out := printtest.Prints(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s shows the %s: %q", name, secret, found)
			}
		}
	}
	close(stop)
	wg.Wait()
	for name, v := range table {
		if name == "Sender" || name == "DPoPConfig" { // whose fields are the caller's, and exported
			continue
		}
		out := printtest.Hidden(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s, hidden, shows the %s: %q", name, secret, found)
			}
		}
	}
}

// A Verifier prints whose tokens it accepts, and what was made by no constructor prints as that.
func TestVerifiersPrintTheirIssuers(t *testing.T) {
	a, b := forge.Ed(t, "a", forge.Keys().Ed), forge.EC(t, "b")
	va, vb := verifierOf(t, "https://a.example.com", a, nil), verifierOf(t, "https://b.example.com", b, nil)
	for want, v := range map[string]any{
		"token.Verifier(nil)":                             (*token.Verifier)(nil),
		`token.Verifier{issuer: "https://a.example.com"}`: va,
		"token.Verifier{2 issuers}":                       one(t, va, vb),
		"token.DPoP{}":                                    token.DPoP{},
	} {
		if got := fmt.Sprintf("%+v", v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
