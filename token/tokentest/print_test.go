package tokentest

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
)

// TestNothingPrintsASecret prints every exported type in every way, and looks for the
// private keys that they sign with (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	auth := New(t)
	auth.forge = signerOf(private)
	client := NewClient(t)
	client.sign = signerOf(private)
	table := map[string]any{"Auth": auth, "Client": client}
	printtest.HoldsAll(t, ".", table)
	for name, v := range table {
		if found := printtest.Leaks(printtest.Prints(v)+printtest.Hidden(v), printtest.Forms(private.Seed())); len(found) > 0 {
			t.Errorf("%s shows the private key: %q", name, found)
		}
	}
}
