package token_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Every service that accepts tokens fetches the keys and wraps its handlers.
func ExampleVerifier_Middleware() {
	ring, _ := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	issuer, _ := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})

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

	issued, _ := issuer.Issue(context.Background(), issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}})
	get := func() {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+issued.Raw())
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
func ExampleNewRemoteKeySet() {
	ring, _ := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	server := httptest.NewTLSServer(ring) // the auth service

	keys, err := token.NewRemoteKeySet(context.Background(), server.URL, token.RemoteKeySetConfig{
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
