package main

import (
	"context"
	"net/http"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An auth issues tokens, publishes its public keys over HTTP, and revokes.
type auth struct {
	url    string // its address, and its name as an issuer
	ring   *issue.Keyring
	issuer *issue.Issuer
	bus    *bus.Member
}

func startAuth(ctx context.Context, natsURL string, open *closers) (*auth, error) {
	// Keys in memory will do for a demonstration.
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/.well-known/jwks.json", ring)
	url, err := serve(mux, open)
	if err != nil {
		return nil, err
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: url, Keys: ring})
	if err != nil {
		return nil, err
	}
	member, err := bus.Join(ctx, bus.Config{Servers: natsURL, Issuers: []string{url}, Name: "auth"})
	if err != nil {
		return nil, err
	}
	open.add(member.Close)
	return &auth{url, ring, issuer, member}, nil
}

// issue returns an access token. A real service has checked a password before.
func (a *auth) issue(ctx context.Context, user, session string) (*issue.Token, error) {
	return a.issuer.Issue(ctx, issue.Request{Subject: user, Client: "quickstart", Session: session, Audience: services})
}
