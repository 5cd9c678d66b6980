package golangjwt_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hybridtoken/hybridtoken/examples/migrate/internal/golangjwt"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Both middlewares take both issuers' tokens; a revocation reaches the new one alone.
func TestMigrate(t *testing.T) {
	ctx := t.Context()
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	old, err := token.NewKey("2026-11", token.EdDSA, public)
	if err != nil {
		t.Fatal(err)
	}
	oldKeys, err := token.NewStaticKeySet(old)
	if err != nil {
		t.Fatal(err)
	}
	// While tokens of both are about, the keys of both are published.
	keys := both{ring, oldKeys}
	api := func(user func(context.Context) string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, user(r.Context())) })
	}
	before := golangjwt.Before(func(t *jwt.Token) (any, error) {
		if t.Header["kid"] == "2026-11" {
			return public, nil
		}
		return published(ring)
	}, api(golangjwt.User))
	after, err := golangjwt.After(keys, list, api(func(ctx context.Context) string {
		claims, _ := token.FromContext(ctx)
		return claims.Subject()
	}))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(h http.Handler, raw string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			return fmt.Sprint(w.Code)
		}
		return w.Body.String()
	}

	theirs, err := golangjwt.IssueBefore(private, "user-1")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := golangjwt.IssueAfter(ctx, issuer, "user-1", "session-1")
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when string, handler http.Handler, raw, want string) {
		t.Helper()
		if got := ask(handler, raw); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	for name, raw := range map[string]string{"golang-jwt's token": theirs, "our token": ours} {
		expect(name+", before", before, raw, "user-1")
		expect(name+", after", after, raw, "user-1")
		expect(name+" with another signature, before", before, raw[:len(raw)-10]+"AAAAAAAAAA", "401")
		expect(name+" with another signature, after", after, raw[:len(raw)-10]+"AAAAAAAAAA", "401")
	}
	if err := list.Apply(revoke.Now(), revoke.Event{Issuer: "https://auth.example.com", Kind: revoke.KindSubject, Value: "user-1"}); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"golang-jwt's token": theirs, "our token": ours} {
		expect("revoked, "+name+", before", before, raw, "user-1")
		expect("revoked, "+name+", after", after, raw, "401")
	}
}

// both finds keys in either set.
type both struct{ one, two token.KeySet }

func (b both) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	k, err := b.one.Lookup(ctx, kid, alg)
	if errors.Is(err, token.ErrUnknownKey) {
		return b.two.Lookup(ctx, kid, alg)
	}
	return k, err
}

// published is the key in the set that a ring serves.
func published(ring http.Handler) (ed25519.PublicKey, error) {
	w := httptest.NewRecorder()
	ring.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	var set struct{ Keys []struct{ X string } }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.DecodeString(set.Keys[0].X)
}
