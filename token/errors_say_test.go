package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// What a first configuration does wrong is named in the error, once, with what was
// configured and without anything of the token or the store.
func TestErrorsSay(t *testing.T) {
	store := new(token.MemoryStore)
	ring, err := token.OpenKeyring(t.Context(), store, kept(token.KeyringConfig{SealKeys: []*token.SealKey{sealKey(t, "2026-10")}}))
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	open := func(keys ...*token.SealKey) error {
		ring, err := token.OpenKeyring(t.Context(), store, kept(token.KeyringConfig{SealKeys: keys}))
		if err == nil {
			ring.Close()
		}
		return err
	}

	a := newAPI(t, nil)
	v, err := token.NewVerifier(token.VerifierConfig{
		Issuer: a.issuer.Config().Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: a.issuer.Config().Keys,
		Revocations: localList(t, revoke.Config{TokenLifetime: time.Minute}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, long := v.Verify(t.Context(), issue(t, a.issuer, request()).Token())

	remote, err := token.RemoteKeys(t.Context(), "https://auth.example.com/keys", token.RemoteKeysConfig{Transport: new(web)})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	v, err = token.NewVerifier(token.VerifierConfig{
		Issuer: a.issuer.Config().Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: remote, Revocations: localList(t, revoke.Config{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, unreachable := v.Verify(t.Context(), issue(t, a.issuer, request()).Token())

	for want, err := range map[string]error{
		"KeyringConfig.SealKeys is empty":                       open([]*token.SealKey{}...),
		`sealed with another key than the SealKeys ["2026-11"]`: open(sealKey(t, "2026-11")),
		"lives too long: exp − iat is more than 1m0s":           long,
		"token: keys unavailable: fetching keys: status 404":    unreachable,
	} {
		if err == nil || strings.Count(err.Error(), want) != 1 || strings.Count(err.Error(), "unavailable") > 1 {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if err := open(sealKey(t, "2026-10")); err != nil { // the good twin
		t.Error(err)
	}
}
