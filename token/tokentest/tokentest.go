// Package tokentest is for tests of programs that accept tokens of package token:
// an issuer, its keys and a verifier in one process, without a network, and tokens
// good and bad.
//
//	auth := tokentest.New(t)
//	handler := auth.Verifier.Middleware(api)
//	r.Header.Set("Authorization", "Bearer "+auth.Token())
//
// For code behind the middleware a context is enough: [Context]. For DPoP see
// [NewClient]. Everything here fails the test instead of returning an error, from
// the goroutine of the test only.
package tokentest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What an [Auth] uses unless its verifier is configured otherwise.
const (
	Issuer   = "https://auth.example.com"      // iss
	Audience = "tokentest"                     // aud
	BaseURL  = "https://tokentest.example.com" // of DPoP proofs
)

// An Auth is an issuer and a service that trusts it. Its fields are what it made; use
// them freely.
type Auth struct {
	Issuer   *issue.Issuer
	Keys     token.KeySet    // the issuer's
	List     *revoke.List    // the denylist; nobody else feeds it
	DPoP     *token.DPoP     // for proofs to BaseURL
	Verifier *token.Verifier // of Audience

	tb    testing.TB
	forge signer
}

// forgedKeyID names the key that signs what no Issuer would.
const forgedKeyID = "tokentest"

// keys are those of the ring, and one that can sign anything.
type keys struct {
	*issue.Keyring
	forge *token.Key
}

func (k keys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	if kid == forgedKeyID && (alg == token.EdDSA || alg == token.Ed25519) {
		return k.forge, nil
	}
	return k.Keyring.Lookup(ctx, kid, alg)
}

// New returns an Auth. Each change alters the configuration of its Verifier: the
// denylist, for example, to see what a stale one does.
func New(tb testing.TB, change ...func(*token.VerifierConfig)) *Auth {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	fatal(tb, err)
	forge, err := token.NewKey(forgedKeyID, token.EdDSA, public)
	fatal(tb, err)
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	fatal(tb, err)
	a := &Auth{tb: tb, Keys: keys{ring, forge}, forge: signerOf(private)}
	a.Issuer, err = issue.NewIssuer(issue.Config{Issuer: Issuer, Keys: ring})
	fatal(tb, err)
	a.List, err = revoke.NewList(revoke.Config{Local: true})
	fatal(tb, err)
	a.DPoP, err = token.NewDPoP(token.DPoPConfig{BaseURL: BaseURL})
	fatal(tb, err)
	cfg := token.VerifierConfig{
		Issuer: Issuer, Audiences: []string{Audience}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: a.Keys, OwnIssuer: true, Revocations: a.List, DPoP: a.DPoP,
	}
	for _, c := range change {
		c(&cfg)
	}
	a.Verifier, err = token.NewVerifier(cfg)
	fatal(tb, err)
	return a
}

// request returns what a token claims if nothing else is said.
func request(change []func(*issue.Request)) issue.Request {
	r := issue.Request{Subject: "user-1", Client: "client-1", Session: "session-1", Audience: []string{Audience}, AuthTime: time.Now()}
	for _, c := range change {
		c(&r)
	}
	return r
}

// Token returns a good token of user-1, client-1 and session-1. Each change alters
// what it claims; see [Scope] and [Subject].
func (a *Auth) Token(change ...func(*issue.Request)) string {
	a.tb.Helper()
	issued, err := a.Issuer.Issue(context.Background(), request(change))
	fatal(a.tb, err)
	return issued.Raw()
}

// Scope makes a token claim those scopes.
func Scope(scopes ...string) func(*issue.Request) {
	return func(r *issue.Request) { r.Scope = scopes }
}

// Subject makes a token that of another user.
func Subject(sub string) func(*issue.Request) {
	return func(r *issue.Request) { r.Subject = sub }
}

// Expired returns a token that was good until an hour ago.
func (a *Auth) Expired(change ...func(*issue.Request)) string {
	a.tb.Helper()
	claims := a.claims(change)
	now := time.Now()
	claims["iat"], claims["exp"] = now.Add(-time.Hour-15*time.Minute).Unix(), now.Add(-time.Hour).Unix()
	return a.Sign(claims)
}

// Foreign returns a token that claims what a good one does, signed by somebody else.
func (a *Auth) Foreign(change ...func(*issue.Request)) string {
	a.tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	fatal(a.tb, err)
	return sign(a.tb, signerOf(private), map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": forgedKeyID}, a.claims(change))
}

// Revoked returns a token that would be good if it were not on the denylist.
func (a *Auth) Revoked(change ...func(*issue.Request)) string {
	a.tb.Helper()
	issued, err := a.Issuer.Issue(context.Background(), request(change))
	fatal(a.tb, err)
	event, err := revoke.TokenOf(issued.Claims().Identity())
	fatal(a.tb, err)
	a.Revoke(event)
	return issued.Raw()
}

// Revoke puts e on the denylist at once. An empty Issuer stands for that of a.
func (a *Auth) Revoke(e revoke.Event) {
	a.tb.Helper()
	if e.Issuer == "" {
		e.Issuer = Issuer
	}
	e, err := e.Complete(time.Now(), revoke.DefaultRetention())
	fatal(a.tb, err)
	fatal(a.tb, a.List.Apply(revoke.Now(), e))
}

// Sign returns a token of exactly these claims, as no Issuer would make it: its
// signature is good and the rest is the caller's.
func (a *Auth) Sign(claims map[string]any) string {
	a.tb.Helper()
	return sign(a.tb, a.forge, map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": forgedKeyID}, claims)
}

// claims returns those of a good token, to be changed.
func (a *Auth) claims(change []func(*issue.Request)) map[string]any {
	a.tb.Helper()
	issued, err := a.Issuer.Issue(context.Background(), request(change))
	fatal(a.tb, err)
	var claims map[string]any
	fatal(a.tb, issued.Claims().Decode(&claims))
	return claims
}

// Claims returns the verified claims of a token as [Auth.Token] makes it, for code
// that is given claims.
func Claims(tb testing.TB, change ...func(*issue.Request)) *token.Claims {
	tb.Helper()
	a := New(tb)
	c, err := a.Verifier.Verify(context.Background(), a.Token(append(change[:len(change):len(change)], func(r *issue.Request) {
		r.Audience = []string{Audience}
	})...))
	fatal(tb, err)
	return c
}

// Context returns ctx as a handler behind [token.Verifier.Middleware] finds it, with
// the claims of [Claims].
func Context(tb testing.TB, ctx context.Context, change ...func(*issue.Request)) context.Context {
	tb.Helper()
	return token.NewContext(ctx, Claims(tb, change...))
}

// A signer holds a private key where nothing prints it.
type signer func(input []byte) []byte

func signerOf(private ed25519.PrivateKey) signer {
	return func(input []byte) []byte { return ed25519.Sign(private, input) }
}

func sign(tb testing.TB, by signer, header, claims map[string]any) string {
	tb.Helper()
	h, err := json.Marshal(header)
	fatal(tb, err)
	c, err := json.Marshal(claims)
	fatal(tb, err)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	return input + "." + base64.RawURLEncoding.EncodeToString(by([]byte(input)))
}

func fatal(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatalf("tokentest: %v", err)
	}
}
