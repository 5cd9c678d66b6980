package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const (
	appIssuer = "https://auth.example.com"
	appURL    = appIssuer + "/oauth/"
)

// An appSystem is an auth service with an App: its publisher is the List that its
// verifier asks, so that what is published is what services know.
type appSystem struct {
	*web.App
	sessions *refresh.Manager
	issuer   *issue.Issuer
	keys     *issue.Keyring
	list     *revoke.List
	verifier *token.Verifier
	dpop     *token.DPoP
	store    *failingStore
	log      *bytes.Buffer

	mu     sync.Mutex
	down   error // of the publisher
	events []revoke.Event
	asked  []web.Credentials // by the App, of clients
}

// The clients of an appSystem: "phone" is public, "shop" has a secret that a form must escape,
// "broken" is one of which the application cannot tell.
const shopSecret = "p+s %/:ä"

func (s *appSystem) client(r *http.Request, c web.Credentials) (bool, error) {
	s.mu.Lock()
	s.asked = append(s.asked, c)
	s.mu.Unlock()
	switch c.ClientID {
	case "phone":
		return c.Method == "none", nil
	case "shop":
		return c.HasSecret(shopSecret), nil
	case "broken":
		return false, errors.New("the table of clients cannot be read")
	}
	return false, nil
}

func (s *appSystem) resource(r *http.Request, c web.Credentials) ([]string, error) {
	switch {
	case c.ClientID == "broken":
		return nil, errors.New("the table of resource servers cannot be read")
	case c.ClientID == "orders" && c.HasSecret("orders-secret"):
		return []string{"orders"}, nil
	case c.ClientID == "billing" && c.HasSecret("billing-secret"):
		return []string{"billing"}, nil
	case c.ClientID == "lax": // by a careless application
		return []string{"orders"}, nil
	}
	return nil, nil
}

func (s *appSystem) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return revoke.Receipt{}, s.down
	}
	if e.Issuer == "" {
		e.Issuer = appIssuer
	}
	e, err := e.Complete(time.Now(), revoke.DefaultRetention())
	if err != nil {
		return revoke.Receipt{}, err
	}
	if err := s.list.Apply(revoke.Now(), e); err != nil {
		return revoke.Receipt{}, err
	}
	s.events = append(s.events, e)
	return revoke.Receipt{ID: e.ID, Event: e}, nil
}

func (s *appSystem) cutOff(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// kinds returns what was published.
func (s *appSystem) kinds() (kinds []revoke.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// A failingStore fails on command.
type failingStore struct {
	refresh.Store
	mu   sync.Mutex
	fail error
}

func (f *failingStore) failing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *failingStore) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *failingStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	if err := f.err(); err != nil {
		return refresh.Record{}, err
	}
	return f.Store.Load(ctx, key)
}

func (f *failingStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if err := f.err(); err != nil {
		return 0, err
	}
	return f.Store.Save(ctx, key, value, revision, expires)
}

func newAppSystem(t *testing.T, change ...func(*web.AppConfig)) *appSystem {
	t.Helper()
	return newAppSystemOf(t, revoke.Config{Local: true}, token.DPoPConfig{}, change...)
}

func newAppSystemOf(t *testing.T, replica revoke.Config, proofs token.DPoPConfig, change ...func(*web.AppConfig)) *appSystem {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &appSystem{store: &failingStore{Store: refresh.NewMemoryStore()}, log: new(bytes.Buffer)}
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	must(err)
	s.keys = ring
	s.issuer, err = issue.NewIssuer(issue.Config{Issuer: appIssuer, Keys: ring})
	must(err)
	s.list, err = revoke.NewList(replica)
	must(err)
	proofs.BaseURL = appIssuer
	s.dpop, err = token.NewDPoP(proofs)
	must(err)
	s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer: appIssuer, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: s.list, DPoP: s.dpop,
	})
	must(err)
	s.sessions, err = refresh.NewManager(refresh.Config{Issuer: s.issuer, Store: s.store, Revocations: s.list, Publisher: s, Lifetimes: refresh.Web})
	must(err)
	t.Cleanup(func() { must(s.sessions.Close()) })
	cfg := web.AppConfig{
		Sessions: s.sessions, Verifier: s.verifier, Client: s.client, Resource: s.resource, DPoP: s.dpop,
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&cfg)
	}
	s.App, err = web.NewApp(cfg)
	must(err)
	return s
}

// sessionsOf returns sessions of another issuer with the same keys.
func (s *appSystem) sessionsOf(t *testing.T, iss string) *refresh.Manager {
	t.Helper()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: iss, Keys: s.keys})
	if err != nil {
		t.Fatal(err)
	}
	m, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: s.list, Publisher: s, Lifetimes: refresh.Web})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (s *appSystem) login(t *testing.T, change ...func(*refresh.Login)) *refresh.Grant {
	t.Helper()
	l := refresh.Login{Subject: "user-1", Client: "phone", Audience: []string{"auth", "orders"}, AuthTime: time.Now(), Scope: []string{"read", "write"}}
	for _, c := range change {
		c(&l)
	}
	g, err := s.sessions.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func byClient(id string) func(*refresh.Login) {
	return func(l *refresh.Login) { l.Client = id }
}

func ofUser(sub string) func(*refresh.Login) {
	return func(l *refresh.Login) { l.Subject = sub }
}

func boundTo(b token.Binding) func(*refresh.Login) {
	return func(l *refresh.Login) { l.Binding = b }
}

// post returns a request with a form.
func post(endpoint string, f url.Values, change ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, appURL+endpoint, strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(r)
	}
	return r
}

// refreshing is the form by which the client "phone" refreshes; more names and values may follow.
func refreshing(raw string, more ...string) url.Values {
	f := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}, "client_id": {"phone"}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func bearing(raw string) func(*http.Request) { return header("Authorization", "Bearer "+raw) }

func basic(id, secret string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(id, secret) }
}

func (s *appSystem) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// members returns the JSON object that w is.
func members(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%d: no JSON object: %v", w.Code, err)
	}
	return m
}

// refused checks that w is an error of OAuth.
func refused(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	if w.Code != status {
		t.Errorf("status %d, want %d: %s", w.Code, status, w.Body)
		return
	}
	if got := members(t, w)["error"]; got != code {
		t.Errorf("error %q, want %q", got, code)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := w.Header().Get("Retry-After"); (got != "") != (status == http.StatusServiceUnavailable) {
		t.Errorf("status %d with Retry-After %q", status, got)
	}
}

// tokensIn checks that w is a token response, and returns the two tokens.
func tokensIn(t *testing.T, w *httptest.ResponseRecorder) (access, refresh string) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	m := members(t, w)
	access, _ = m["access_token"].(string)
	refresh, _ = m["refresh_token"].(string)
	if access == "" || refresh == "" {
		t.Fatal("tokens are missing")
	}
	return access, refresh
}
