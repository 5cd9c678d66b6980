package grpctoken

import (
	"log/slog"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// TestNothingPrintsASecret prints every exported type in every way, and looks for a token
// that the options of a method hold, which they need not, and for what the verifier holds
// (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	auth := tokentest.New(t)
	raw := auth.Token()
	cfg := Config{
		Verifier: auth.Verifier, Logger: slog.New(slog.DiscardHandler),
		Methods: map[string][]token.VerifyOption{"/shop.Orders/Cancel": {token.WithSender(token.Sender{Proof: raw}), token.RequireScope("orders:write")}},
	}
	i, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]any{"Interceptor": i, "Config": cfg, "Verifier": Verifier(auth.Verifier)}
	printtest.HoldsAll(t, ".", table)
	for name, v := range table {
		if found := printtest.Leaks(printtest.Prints(v), printtest.Forms([]byte(raw[len(raw)-60:]))); len(found) > 0 {
			t.Errorf("%s shows a token: %q", name, found)
		}
	}
}
