package token_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/idp"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// background is what main has.
func background() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// One API takes the tokens of its own auth service, whose key set it knows, and those
// of a Keycloak realm, whose keys it discovers; and a user of the realm is revoked.
func ExampleOneOf_discover() {
	ctx, cancel := background()
	defer cancel()
	// What others run: here servers of this process, with a certificate of nobody's.
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	transport := server.Client().Transport // in production leave RemoteKeySetConfig.Transport nil
	ownURL, realmURL := server.URL, server.URL+"/realms/acme"
	ownRing, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		log.Fatal(err)
	}
	realmRing, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.RS256})
	if err != nil {
		log.Fatal(err)
	}
	mux.Handle("/.well-known/jwks.json", ownRing)
	mux.Handle("/realms/acme/certs", realmRing)
	mux.HandleFunc("/realms/acme/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, realmURL, realmURL+"/certs")
	})

	// The API service. One denylist serves all issuers: each event names its own.
	list, err := revoke.NewList(revoke.Config{Local: true}) // package bus feeds one over NATS
	if err != nil {
		log.Fatal(err)
	}
	ownKeys, err := token.NewRemoteKeySet(ctx, ownURL+"/.well-known/jwks.json", token.RemoteKeySetConfig{Transport: transport})
	if err != nil {
		log.Fatal(err)
	}
	defer ownKeys.Close()
	own, err := token.NewVerifier(token.VerifierConfig{
		Issuer: ownURL, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ownKeys, Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	cfg := idp.Keycloak(realmURL)
	realmKeys, err := token.Discover(ctx, cfg.Issuer, token.RemoteKeySetConfig{Algorithms: cfg.Algorithms, Transport: transport})
	if err != nil {
		log.Fatal(err)
	}
	defer realmKeys.Close()
	cfg.Audiences, cfg.Keys, cfg.Revocations = []string{"orders"}, realmKeys, list
	realm, err := token.NewVerifier(cfg)
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.OneOf(own, realm)
	if err != nil {
		log.Fatal(err)
	}
	api := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := token.FromContext(r.Context())
		fmt.Fprint(w, c.Subject())
	}))

	get := func(raw string) {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	sign := func(issuer string, ring *issue.Keyring, r issue.Request) string {
		i, err := issue.NewIssuer(issue.Config{Issuer: issuer, Keys: ring})
		if err != nil {
			log.Fatal(err)
		}
		issued, err := i.Issue(ctx, r)
		if err != nil {
			log.Fatal(err)
		}
		return issued.Raw()
	}
	get(sign(ownURL, ownRing, issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}}))
	jo := sign(realmURL, realmRing, issue.Request{
		Subject: "jo", Client: "web", Audience: []string{"orders"}, Claims: map[string]any{"typ": "Bearer"}, // as Keycloak marks access tokens
	})
	get(jo)

	// Over NATS: Publish of a bus.Member whose Issuers name realmURL. One that names only
	// the own issuer refuses events of another.
	if err := list.Apply(revoke.Now(), revoke.Event{Issuer: realmURL, Kind: revoke.KindSubject, Value: "jo"}); err != nil {
		log.Fatal(err)
	}
	get(jo)
	// Output:
	// 200 user-1
	// 200 jo
	// 401 {"error":"invalid_token","error_description":"The access token has expired, was revoked, or is not for this service."}
}
