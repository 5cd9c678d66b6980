package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An auth service for apps: a login of its own, and what the App has.
func ExampleNewApp() {
	sessions, verifier := newAuth()
	defer sessions.Close()
	app, err := web.NewApp(web.AppConfig{
		Sessions: sessions, Verifier: verifier,
		Client: func(r *http.Request, c web.Credentials) (bool, error) {
			return c.ClientID == "phone" && c.Method == "none", nil // a public client
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/oauth/", app.Handler())
	mux.Handle("/.well-known/", app.Handler())
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		before := time.Now() // then check the password
		app.Login(w, r, refresh.Login{Subject: "user-1", Client: "phone", Audience: []string{"auth"}, AuthTime: before})
	})

	// What the app does.
	answer := send(mux, "/login", url.Values{"user": {"ada"}, "password": {"enchantress"}})
	fmt.Println("logged in:", answer["token_type"])
	used := url.Values{"grant_type": {"refresh_token"}, "client_id": {"phone"}, "refresh_token": {fmt.Sprint(answer["refresh_token"])}}
	answer = send(mux, "/oauth/token", used)
	fmt.Println("refreshed:", answer["token_type"])
	send(mux, "/oauth/logout", url.Values{"client_id": {"phone"}, "refresh_token": {fmt.Sprint(answer["refresh_token"])}})
	used.Set("refresh_token", fmt.Sprint(answer["refresh_token"]))
	fmt.Println("after the logout:", send(mux, "/oauth/token", used)["error"])
	// Output:
	// logged in: Bearer
	// refreshed: Bearer
	// after the logout: invalid_grant
}

// A password change ends all sessions of the user but the one it is made from, which gets
// new tokens.
func ExampleWriteGrant() {
	sessions, verifier := newAuth()
	defer sessions.Close()
	change := verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		// Check the old password, store the new one. Then:
		grant, err := sessions.LogoutAll(r.Context(), claims.Subject(), refresh.Keep(claims.SessionID()), refresh.Because("password change"))
		if err != nil || grant == nil {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		web.WriteGrant(w, grant)
	}))

	grant, err := sessions.Login(context.Background(), refresh.Login{Subject: "user-1", Client: "phone", Audience: []string{"auth"}, AuthTime: time.Now()})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("POST", "https://auth.example.com/password", nil)
	r.Header.Set("Authorization", "Bearer "+grant.AccessToken())
	w := httptest.NewRecorder()
	change.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Cache-Control"), strings.Contains(w.Body.String(), "refresh_token"))
	// Output:
	// 200 no-store true
}

// newAuth returns sessions and a verifier of the access tokens that are for the auth service
// itself. They live in this process alone.
func newAuth() (*refresh.Manager, *token.Verifier) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Consumer})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: "https://auth.example.com", Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	return sessions, verifier
}

// send posts a form and returns the answer's JSON.
func send(h http.Handler, path string, form url.Values) map[string]any {
	r := httptest.NewRequest("POST", "https://auth.example.com"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	answer := map[string]any{}
	json.Unmarshal(w.Body.Bytes(), &answer)
	return answer
}
