package token

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
)

// A Route is not made of options that cannot take effect, and lets nobody in with what the
// Verifier refuses: the error is the Verifier's, and there is no Admission.
func TestRouteOfOtherPackages(t *testing.T) {
	key, err := NewKey("a", EdDSA, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32)).Public())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(VerifierConfig{Issuer: "https://auth.example.com", Audiences: []string{"api"}, Keys: keys, Algorithms: []Algorithm{EdDSA}, InsecureNoRevocations: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]VerifyOption{"no scope": RequireScope(), "no acr": RequireACR(), "less than a second": RequireFresh(time.Millisecond)} {
		if r, err := admit.NewRoute(v, []VerifyOption{o}, t); r != nil || err == nil {
			t.Errorf("%s: %v, error %v", name, r, err)
		}
	}
	route, err := admit.NewRoute(v, []VerifyOption{RequireScope("a")}, t)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := route.Admit(httptest.NewRequest("GET", "/", nil), "x"); a != nil || !errors.Is(err, ErrMalformed) {
		t.Errorf("what is no token is let in: %v, error %v", a, err)
	}
}
