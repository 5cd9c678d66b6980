package golangjwt

import (
	"net/http"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// After verifies with this library: a token is good until it expires or is revoked.
func After(keys token.KeySet, list *revoke.List, next http.Handler) (http.Handler, error) {
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer:      "https://auth.example.com",
		Audiences:   []string{"orders"},
		Algorithms:  []token.Algorithm{token.EdDSA},
		Keys:        keys,
		Revocations: list,
		// OwnIssuer: true once an issue.Issuer of this library issues all the tokens.
	})
	if err != nil {
		return nil, err
	}
	return verifier.Middleware(next), nil // behind it: token.FromContext
}
