package token_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// The service that issues tokens also serves the keys that verify them.
func ExampleNewIssuer() {
	ring, err := token.NewEphemeralKeyring(token.KeyringConfig{}) // EdDSA
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: "https://auth.example.com", Keys: ring, Lifetime: 15 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring)

	issued, err := issuer.Issue(context.Background(), token.IssueRequest{
		Subject: "user-1", Client: "web", Session: "session-1", Audience: []string{"orders"}, Scope: []string{"orders:read"},
		Claims: map[string]any{"roles": []string{"customer"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// issued.Token() goes to the client. The value itself shows no token:
	fmt.Println(issued.Claims().Subject(), issued.Claims().ExpiresAt().Sub(issued.Claims().IssuedAt()))
	// Output: user-1 15m0s
}

// Every service that accepts tokens fetches the keys and wraps its handlers.
func ExampleVerifier_Middleware() {
	ring, _ := token.NewEphemeralKeyring(token.KeyringConfig{})
	issuer, _ := token.NewIssuer(token.IssuerConfig{Issuer: "https://auth.example.com", Keys: ring})

	list, err := revoke.NewList(revoke.Config{Local: true}) // one process; package bus keeps the lists of many in step
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: "https://auth.example.com", Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: ring, Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	orders := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		io.WriteString(w, "hello "+claims.Subject())
	}))

	issued, _ := issuer.Issue(context.Background(), token.IssueRequest{Subject: "user-1", Client: "web", Audience: []string{"orders"}})
	get := func() {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+issued.Token())
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body.Len() > 0, w.Header()["Www-Authenticate"])
	}
	get()
	event, _ := revoke.TokenOf(issued.Claims().Identity())
	if err := list.Apply(revoke.Now(), event); err != nil {
		log.Fatal(err)
	}
	get()
	// Output:
	// 200 true []
	// 401 true [Bearer realm="orders", error="invalid_token"]
}

// A service needs the issuer's key server now and then, not for every request.
func ExampleRemoteKeys() {
	ring, _ := token.NewEphemeralKeyring(token.KeyringConfig{})
	server := httptest.NewTLSServer(ring) // the auth service

	keys, err := token.RemoteKeys(context.Background(), server.URL, token.RemoteKeysConfig{
		Transport: server.Client().Transport, // trusts the test server's certificate
	})
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	server.Close() // an outage

	key, err := keys.Lookup(context.Background(), ring.Active().ID(), token.EdDSA)
	fmt.Println(key.Thumbprint() == ring.Active().Thumbprint(), err)
	// Output: true <nil>
}
