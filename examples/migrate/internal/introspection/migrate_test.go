package introspection_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/examples/migrate/internal/introspection"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An API that asks the endpoint and one that verifies let in and refuse the same tokens; while the
// authorization server is away, one of them goes on.
func TestMigrate(t *testing.T) {
	ctx := t.Context()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.ES256})
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
	defer sessions.Close()
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: server.URL, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.ES256}, Keys: ring, Revocations: list,
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := web.NewApp(web.AppConfig{
		Sessions: sessions, Verifier: verifier,
		Client: func(*http.Request, web.Credentials) (bool, error) { return false, nil },
		Resource: func(_ *http.Request, c web.Credentials) ([]string, error) {
			if c.ClientID == "orders" && c.HasSecret("orders-secret") {
				return []string{"orders"}, nil
			}
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/oauth/", app.Handler())

	after, err := introspection.After(server.URL, ring, list, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		t.Fatal(err)
	}
	asks := func(raw string) (active bool, failed bool) {
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		answer, err := introspection.Ask(r, server.URL+"/oauth/introspect", "orders", "orders-secret")
		if err != nil {
			return false, true
		}
		return answer.Active && answer.IsFor("orders") && answer.Subject == "user-1", false
	}
	verifies := func(raw string) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		after.ServeHTTP(w, r)
		return w.Code
	}
	grants := make([]*refresh.Grant, 2)
	for i := range grants {
		if grants[i], err = sessions.Login(ctx, refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"orders", "billing"}, AuthTime: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if active, failed := asks(grants[i].AccessToken()); !active || failed {
			t.Errorf("before, a good token: %t, failed %t", active, failed)
		}
		if code := verifies(grants[i].AccessToken()); code != 200 {
			t.Errorf("after, a good token: %d", code)
		}
	}
	if err := sessions.Logout(ctx, grants[0].SessionID); err != nil {
		t.Fatal(err)
	}
	if active, failed := asks(grants[0].AccessToken()); active || failed {
		t.Errorf("before, revoked: %t, failed %t", active, failed)
	}
	if code := verifies(grants[0].AccessToken()); code != 401 {
		t.Errorf("after, revoked: %d", code)
	}
	server.Close()
	if _, failed := asks(grants[1].AccessToken()); !failed {
		t.Error("before, with the authorization server away: answered")
	}
	if code := verifies(grants[1].AccessToken()); code != 200 {
		t.Errorf("after, with the authorization server away: %d", code)
	}
}
