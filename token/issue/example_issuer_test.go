package issue_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/token/issue"
)

// The service that issues tokens also serves the keys that verify them.
func ExampleNewIssuer() {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{}) // EdDSA
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring, Lifetime: 15 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring)

	issued, err := issuer.Issue(context.Background(), issue.Request{
		Subject: "user-1", Client: "web", Session: "session-1", Audience: []string{"orders"}, Scope: []string{"orders:read"},
		Claims: map[string]any{"roles": []string{"customer"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// issued.Raw() goes to the client. The value itself shows no token:
	fmt.Println(issued.Claims().Subject(), issued.Claims().ExpiresAt().Sub(issued.Claims().IssuedAt()))
	// Output: user-1 15m0s
}
