package token_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A token that only its client can use: the auth service binds it to the key that the
// client proves possession of, and the API asks for that proof with each request.
func ExampleDPoP() {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}
	atAuth, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://auth.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	tokenEndpoint := func(r *http.Request) (string, error) { // once the grant was checked
		thumbprint, err := atAuth.Thumbprint(r)
		if err != nil {
			return "", err // 400 invalid_dpop_proof
		}
		issued, err := issuer.Issue(r.Context(), issue.Request{
			Subject: "user-1", Client: "app", Audience: []string{"orders"},
			Binding: token.Binding{KeyThumbprint: thumbprint},
		})
		if err != nil {
			return "", err
		}
		return issued.Raw(), nil
	}

	atOrders, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://orders.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: "https://auth.example.com", Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring,
		DPoP:                  atOrders,
		InsecureNoRevocations: true, // for the sake of brevity
	})
	if err != nil {
		log.Fatal(err)
	}
	api := verifier.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	// The client.
	client := tokentest.NewClient(new(testing.T))
	r := httptest.NewRequest("POST", "/token", nil)
	r.Header.Set("DPoP", client.Proof("POST", "https://auth.example.com/token", ""))
	raw, err := tokenEndpoint(r)
	if err != nil {
		log.Fatal(err)
	}
	get := func(scheme, proof string) {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", scheme+" "+raw)
		r.Header.Set("DPoP", proof)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(scheme, w.Code)
	}
	proof := client.Proof("GET", "https://orders.example.com/orders", raw)
	get("DPoP", proof)
	get("DPoP", proof) // seen before
	get("Bearer", "")  // as a thief would
	// Output:
	// DPoP 200
	// DPoP 401
	// Bearer 401
}

// A route that asks for more than others: a scope, and a login within five minutes.
func ExampleRequireFresh() {
	auth := tokentest.New(new(testing.T))
	transfer := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	mux := http.NewServeMux()
	mux.Handle("POST /transfers", auth.Verifier.Middleware(transfer,
		token.RequireScope("transfers:write"), token.RequireFresh(5*time.Minute), token.RequireACR("phr")))

	r := httptest.NewRequest("POST", "/transfers", nil)
	r.Header.Set("Authorization", "Bearer "+auth.Token(tokentest.Scope("transfers:write"))) // but by password
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	fmt.Print(w.Body)
	// Output:
	// 401 Bearer realm="tokentest", error="insufficient_user_authentication", acr_values="phr", max_age="300"
	// {"error":"insufficient_user_authentication","error_description":"Authenticate the user anew, as the challenge says."}
}

// A connection that outlives its request checks its token while it is open.
func ExampleVerifier_Recheck() {
	auth := tokentest.New(new(testing.T))
	ctx := context.Background()
	claims, err := auth.Verifier.Verify(ctx, auth.Token())
	if err != nil {
		log.Fatal(err)
	}
	for n := range 3 { // each second, say
		if err := auth.Verifier.Recheck(ctx, claims); err != nil {
			fmt.Println(n, err)
			break
		}
		if n == 1 {
			event, err := revoke.TokenOf(claims.Identity())
			if err != nil {
				log.Fatal(err)
			}
			auth.Revoke(event)
		}
	}
	// Output: 2 token: invalid token: revoke: token revoked by token
}
