package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// What a first configuration does wrong is named in the error, once, with what was
// configured and without anything of the token.
func TestErrorsSay(t *testing.T) {
	a := newAPI(t, nil)
	v, err := token.NewVerifier(token.VerifierConfig{
		Issuer: a.issuer.Config().Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: a.issuer.Config().Keys,
		Revocations: forge.LocalList(t, revoke.Config{TokenLifetime: time.Minute}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, long := v.Verify(t.Context(), forge.Issue(t, a.issuer, forge.Request()).Raw())

	remote, err := token.NewRemoteKeySet(t.Context(), "https://auth.example.com/keys", token.RemoteKeySetConfig{Transport: new(forge.Web)})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	v, err = token.NewVerifier(token.VerifierConfig{
		Issuer: a.issuer.Config().Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: remote, Revocations: forge.LocalList(t, revoke.Config{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, unreachable := v.Verify(t.Context(), forge.Issue(t, a.issuer, forge.Request()).Raw())

	for want, err := range map[string]error{
		"lives too long: exp − iat is more than 1m0s":        long,
		"token: keys unavailable: fetching keys: status 404": unreachable,
	} {
		if err == nil || strings.Count(err.Error(), want) != 1 || strings.Count(err.Error(), "unavailable") > 1 {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
