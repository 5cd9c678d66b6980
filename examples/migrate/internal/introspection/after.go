package introspection

import (
	"net/http"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// After asks nobody: keys are fetched now and then (token.NewRemoteKeySet), and the bus keeps list in step.
func After(issuer string, keys token.KeySet, list *revoke.List, next http.Handler) (http.Handler, error) {
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer:      issuer,
		Audiences:   []string{"orders"},
		Algorithms:  []token.Algorithm{token.ES256},
		Keys:        keys,
		Revocations: list,
		// OwnIssuer: true only for an issue.Issuer of this library.
	})
	if err != nil {
		return nil, err
	}
	return verifier.Middleware(next), nil
}
