package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// newUpstream returns a service that believes the gateway, and nobody else: not the user's own
// token, not another upstream's, and no header that names a user.
func newUpstream(ctx context.Context, name, gatewayIssuer string, keys token.KeySet) (http.Handler, error) {
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: gatewayIssuer, OwnIssuer: true, Audiences: []string{name}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys,
		Leeway: time.Second, MaxLifetime: internalLifetime,
		// The gateway has looked, and its word is good for seconds.
		InsecureNoRevocations: true,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s", claims.Subject())
		for _, header := range []string{"Cookie", "X-Auth-Subject", "X-Upstream-Authorization"} {
			if r.Header.Get(header) != "" {
				fmt.Fprintf(w, ", and a client's %s", header)
			}
		}
		fmt.Fprintln(w)
	})
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			fmt.Fprint(w, "data: tick\n\n")
			http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done(): // the gateway has hung up
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	outer := http.NewServeMux()
	outer.Handle("/", verifier.Middleware(mux))
	// The stream outlives the gateway's token by far. Who ends it is the gateway.
	outer.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, checked *http.Request) {
			events.ServeHTTP(w, r) // with the context of the connection, not of the token
		})).ServeHTTP(w, r)
	})
	return outer, nil
}
