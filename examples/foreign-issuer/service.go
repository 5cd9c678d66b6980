package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// startService starts an API that accepts the provider's tokens. All that it knows of the provider is
// its name, where its metadata is, and the algorithm of its keys. Its tokens are as RFC 9068 has
// them, so that no Profile is needed; package token/idp has those of other providers.
func (w *world) startService(ctx context.Context, srv *embedded.Server, issuer string) error {
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		return err
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: srv, List: list, Name: "orders"})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { member.Close() })
	keys, err := token.Discover(ctx, issuer, token.RemoteKeySetConfig{InsecureAllowHTTP: true}) // a socket of this machine; https everywhere else
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { keys.Close() })
	w.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer:      issuer,
		Audiences:   []string{"https://orders.example.com"},
		Algorithms:  []token.Algorithm{token.ES256},
		Keys:        keys,
		Revocations: list,
		// OwnIssuer stays false: the provider knows nothing of hyt_at.
	})
	if err != nil {
		return err
	}
	w.service, err = w.serve(w.verifier.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(rw, "hello %s\n", claims.Subject())
	})))
	return err
}

// startRevoker joins what revokes: a support desk, a risk engine, an admin's page. It issues nothing,
// and names the provider's tokens by the provider's iss.
//
// The provider's own logout will come in here, too: a back-channel logout token names the sid or
// sub that the events below are made of. Package token/signals is to verify those.
func (w *world) startRevoker(ctx context.Context, srv *embedded.Server, issuer string) (err error) {
	w.revoker, err = bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{issuer}, Name: "revoker"})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { w.revoker.Close() })
	return nil
}
