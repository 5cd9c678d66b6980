package web_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

func (s *appSystem) introspect(raw string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	return s.do(post("introspect", url.Values{"token": {raw}}, append([]func(*http.Request){basic("orders", "orders-secret")}, change...)...))
}

// inactive checks that w says that and nothing else.
func inactive(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"active":false}` || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// An active token is told of as it is (RFC 7662 section 2.2).
func TestIntrospection(t *testing.T) {
	s := newAppSystem(t)
	c := tokentest.NewClient(t)
	g := s.login(t, boundTo(thumbprint(c)), func(l *refresh.Login) { l.ACR = "high" })
	w := s.introspect(g.AccessToken())
	m := members(t, w)
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for name, want := range map[string]any{
		"active": true, "iss": appIssuer, "sub": "user-1", "client_id": "phone", "scope": "read write", "sid": g.SessionID,
		"token_type": "DPoP", "acr": "high", "exp": float64(g.AccessExpires.Unix()),
	} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	if aud, _ := m["aud"].([]any); len(aud) != 2 || aud[1] != "orders" {
		t.Errorf("aud is %v", m["aud"])
	}
	if cnf, _ := m["cnf"].(map[string]any); len(cnf) != 1 || cnf["jkt"] != thumbprint(c).KeyThumbprint {
		t.Errorf("cnf is %v", m["cnf"])
	}
	if id, _ := m["jti"].(string); id == "" {
		t.Error("no jti")
	}
	w = s.introspect(s.login(t, func(l *refresh.Login) { l.Audience = []string{"orders"} }).AccessToken())
	m = members(t, w)
	if _, bound := m["cnf"]; bound || m["token_type"] != "Bearer" || m["aud"] != "orders" {
		t.Errorf("a bearer token for one: %v", m)
	}
}

// All that makes a token bad makes it inactive, and nothing more is said: the good twin is
// the same token before.
func TestIntrospectionInactive(t *testing.T) {
	s := newAppSystem(t)
	g := s.login(t)
	if w := s.introspect(g.AccessToken()); members(t, w)["active"] != true {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	forger := newAppSystem(t)
	for name, raw := range map[string]string{
		"garbage":               "x",
		"no token of ours":      "a.b.c",
		"another's signature":   forger.login(t).AccessToken(),
		"a changed one":         g.AccessToken()[:len(g.AccessToken())-4] + "AAAA",
		"a refresh token":       g.RefreshToken(),
		"another service's":     s.login(t, func(l *refresh.Login) { l.Audience = []string{"auth"} }).AccessToken(),
		"larger than any token": strings.Repeat("x", 20<<10),
	} {
		t.Run(name, func(t *testing.T) { inactive(t, s.introspect(raw)) })
	}
	inactive(t, s.do(post("introspect", url.Values{"token": {g.AccessToken()}}, basic("billing", "billing-secret"))))
	if err := s.sessions.Logout(t.Context(), g.SessionID); err != nil {
		t.Fatal(err)
	}
	inactive(t, s.introspect(g.AccessToken()))
}

func TestIntrospectionOfTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newAppSystem(t)
		raw := s.issued(t, issue.Request{Subject: "user-1", Client: "phone", Audience: []string{"orders"}, NotBefore: time.Now().Add(5 * time.Minute)})
		inactive(t, s.introspect(raw))
		time.Sleep(5 * time.Minute)
		if m := members(t, s.introspect(raw)); m["active"] != true || m["nbf"] == nil {
			t.Errorf("%v", m)
		}
		time.Sleep(20 * time.Minute)
		inactive(t, s.introspect(raw))
	})
}

// Only who has authenticated himself is answered (RFC 7662 section 2.1).
func TestIntrospectionCallers(t *testing.T) {
	s := newAppSystem(t)
	raw := s.login(t).AccessToken()
	f := url.Values{"token": {raw}}
	named := url.Values{"token": {raw}, "client_id": {"orders"}}
	withSecret := url.Values{"token": {raw}, "client_id": {"orders"}, "client_secret": {"orders-secret"}}
	for name, x := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"nobody":                    {post("introspect", f), 401, "invalid_client"},
		"a wrong secret":            {post("introspect", f, basic("orders", "wrong")), 401, "invalid_client"},
		"a name alone":              {post("introspect", named), 401, "invalid_client"},
		"a name alone, by Basic":    {post("introspect", f, basic("orders", "")), 401, "invalid_client"},
		"one without a secret":      {post("introspect", url.Values{"token": {raw}, "client_id": {"lax"}}), 401, "invalid_client"},
		"an unknown one":            {post("introspect", f, basic("nobody", "orders-secret")), 401, "invalid_client"},
		"a client":                  {post("introspect", f, basic("shop", shopSecret)), 401, "invalid_client"},
		"the token itself":          {post("introspect", f, bearing(raw)), 401, "invalid_client"},
		"one nobody can tell of":    {post("introspect", f, basic("broken", "x")), 503, "temporarily_unavailable"},
		"no token":                  {post("introspect", url.Values{}, basic("orders", "orders-secret")), 400, "invalid_request"},
		"the token in the query":    {post("introspect?token="+raw, f, basic("orders", "orders-secret")), 400, "invalid_request"},
		"two tokens":                {post("introspect", url.Values{"token": {raw, raw}}, basic("orders", "orders-secret")), 400, "invalid_request"},
		"two ways":                  {post("introspect", withSecret, basic("orders", "orders-secret")), 400, "invalid_request"},
		"a good one with Basic":     {post("introspect", f, basic("orders", "orders-secret")), 200, ""},
		"a good one with a form":    {post("introspect", withSecret), 200, ""},
		"a good one with a hint":    {post("introspect", url.Values{"token": {raw}, "token_type_hint": {"refresh_token"}}, basic("orders", "orders-secret")), 200, ""},
		"a good one, named as well": {post("introspect", named, basic("orders", "orders-secret")), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.do(x.r)
			if x.code == "" {
				if w.Code != 200 || members(t, w)["active"] != true {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			refused(t, w, x.status, x.code)
			if got := w.Header().Get("WWW-Authenticate"); (got != "") != (x.status == 401) {
				t.Errorf("challenge %q", got)
			}
		})
	}
	if w := s.do(httptest.NewRequest("GET", appURL+"introspect", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	none := newAppSystem(t, func(cfg *web.AppConfig) { cfg.Resource = nil })
	if w := none.introspect(raw); w.Code != http.StatusNotFound {
		t.Errorf("without Resource: %d", w.Code)
	}
}

// A resource server may prove itself by its TLS certificate.
func TestIntrospectionByCertificate(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) {
		cfg.ClientCertificate = func(r *http.Request) *x509.Certificate {
			if r.Header.Get("Test-Certificate") == "" {
				return nil
			}
			return &x509.Certificate{Raw: []byte("a certificate")}
		}
	})
	f := url.Values{"token": {s.login(t).AccessToken()}, "client_id": {"lax"}}
	refused(t, s.do(post("introspect", f)), 401, "invalid_client")
	if m := members(t, s.do(post("introspect", f, header("Test-Certificate", "yes")))); m["active"] != true {
		t.Errorf("%v", m)
	}
}

// Where nobody can tell, a token is not said to be inactive.
func TestIntrospectionCannotTell(t *testing.T) {
	stale := newAppSystemOf(t, revoke.Config{}, token.DPoPConfig{})
	raw := stale.issued(t, issue.Request{Subject: "user-1", Client: "phone", Audience: []string{"orders"}})
	refused(t, stale.introspect(raw), 503, "temporarily_unavailable")
	inactive(t, stale.introspect(raw+"x")) // that one is known to be bad

	s := newAppSystem(t)
	keys := &failingKeys{KeySet: s.keys, err: errors.New("unreachable")}
	v, err := token.NewVerifier(token.VerifierConfig{Issuer: appIssuer, OwnIssuer: true, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: s.list})
	if err != nil {
		t.Fatal(err)
	}
	if s.App, err = web.NewApp(web.AppConfig{Sessions: s.sessions, Verifier: v, Client: s.client, Resource: s.resource}); err != nil {
		t.Fatal(err)
	}
	g := s.login(t)
	refused(t, s.introspect(g.AccessToken()), 503, "temporarily_unavailable")
	refused(t, s.do(post("revoke", revoking(g.AccessToken()))), 503, "temporarily_unavailable")
	keys.err = nil
	if m := members(t, s.introspect(g.AccessToken())); m["active"] != true {
		t.Errorf("%v", m)
	}
	done(t, s.do(post("revoke", revoking(g.AccessToken()))), 200)
}

// failingKeys cannot be had while err is set.
type failingKeys struct {
	token.KeySet
	err error
}

func (k *failingKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	if k.err != nil {
		return nil, k.err
	}
	return k.KeySet.Lookup(ctx, kid, alg)
}
