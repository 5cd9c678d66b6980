package sessions_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// golang.org/x/oauth2, with each of its ways to send credentials, refreshes at the token
// endpoint of refresh/web, understands its errors, and keeps its token where nobody can tell.
func TestOAuth2Client(t *testing.T) {
	const secret = "p+s %/:ä" // which a form escapes
	mux := http.NewServeMux()
	var mu sync.Mutex
	var methods []string
	var down bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if down {
			w.Header().Set("Retry-After", "2")
			http.Error(w, `{"error":"temporarily_unavailable"}`, http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)

	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: server.URL, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Web})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sessions.Close() })
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuer: server.URL, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list})
	if err != nil {
		t.Fatal(err)
	}
	app, err := web.NewApp(web.AppConfig{Sessions: sessions, Verifier: verifier, Client: func(r *http.Request, c web.Credentials) (bool, error) {
		methods = append(methods, c.Method)
		return c.ClientID == "phone" && c.Method == "none" || c.ClientID == "shop" && c.HasSecret(secret), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/oauth/", app.Handler())

	for _, x := range []struct {
		name, client, secret string
		style                oauth2.AuthStyle
		method               string
	}{
		{"confidential, header", "shop", secret, oauth2.AuthStyleInHeader, "client_secret_basic"},
		{"confidential, form", "shop", secret, oauth2.AuthStyleInParams, "client_secret_post"},
		{"confidential, found out", "shop", secret, oauth2.AuthStyleAutoDetect, "client_secret_basic"},
		{"public, header", "phone", "", oauth2.AuthStyleInHeader, "none"},
		{"public, form", "phone", "", oauth2.AuthStyleInParams, "none"},
		{"public, found out", "phone", "", oauth2.AuthStyleAutoDetect, "none"},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			g, err := sessions.Login(ctx, refresh.Login{Subject: "user-1", Client: x.client, Audience: []string{"auth"}, AuthTime: time.Now(), Scope: []string{"read"}})
			if err != nil {
				t.Fatal(err)
			}
			config := oauth2.Config{ClientID: x.client, ClientSecret: x.secret, Endpoint: oauth2.Endpoint{TokenURL: server.URL + "/oauth/token", AuthStyle: x.style}}
			refreshed := func(raw string) (*oauth2.Token, error) {
				return config.TokenSource(ctx, &oauth2.Token{RefreshToken: raw}).Token()
			}
			methods = nil
			got, err := refreshed(g.RefreshToken())
			if err != nil {
				t.Fatal(err)
			}
			if got.TokenType != "Bearer" || got.RefreshToken == "" || got.RefreshToken == g.RefreshToken() || time.Until(got.Expiry) < refresh.Web.Access-time.Minute || got.Extra("scope") != "read" || got.Extra("refresh_token_timeout") == nil {
				t.Errorf("type %q, expires %s, scope %v", got.TokenType, got.Expiry, got.Extra("scope"))
			}
			if len(methods) != 1 || methods[0] != x.method {
				t.Errorf("asked about %q, want one %s", methods, x.method)
			}
			if _, err := verifier.Verify(ctx, got.AccessToken); err != nil {
				t.Error(err)
			}

			refusal := (*oauth2.RetrieveError)(nil)
			mu.Lock()
			down = true
			mu.Unlock()
			if _, err := refreshed(got.RefreshToken); !errors.As(err, &refusal) || refusal.Response.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("while nobody can tell: %v", err)
			}
			mu.Lock()
			down = false
			mu.Unlock()
			next, err := refreshed(got.RefreshToken)
			if err != nil {
				t.Fatalf("afterwards: %v", err)
			}
			if err := sessions.Logout(ctx, g.SessionID); err != nil {
				t.Fatal(err)
			}
			if _, err := refreshed(next.RefreshToken); !errors.As(err, &refusal) || refusal.ErrorCode != "invalid_grant" {
				t.Errorf("after the logout: %v", err)
			}
			config.ClientSecret = "wrong"
			if _, err := refreshed(next.RefreshToken); !errors.As(err, &refusal) || refusal.ErrorCode != "invalid_client" {
				t.Errorf("with a wrong secret: %v", err)
			}
		})
	}
}
