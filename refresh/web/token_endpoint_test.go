package web_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A refresh is answered as RFC 6749 section 5.1 has it, with new tokens, and rotates.
func TestRefresh(t *testing.T) {
	s := newAppSystem(t)
	before := s.login(t)
	w := s.do(post("token", refreshing(before.RefreshToken())))
	access, next := tokensIn(t, w)
	m := members(t, w)
	for name, want := range map[string]any{"token_type": "Bearer", "scope": "read write"} {
		if m[name] != want {
			t.Errorf("%s is %v, want %v", name, m[name], want)
		}
	}
	for name, most := range map[string]time.Duration{
		"expires_in": refresh.Web.Access, "refresh_token_timeout": refresh.Web.Idle, "authorization_expires_in": refresh.Web.Absolute,
	} {
		if got, ok := m[name].(float64); !ok || got > most.Seconds() || got < most.Seconds()-60 || got != float64(int(got)) {
			t.Errorf("%s is %v, want whole seconds of about %s", name, m[name], most)
		}
	}
	if len(m) != 7 {
		t.Errorf("%d members, want 7", len(m))
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
		t.Errorf("may be cached: %v", w.Header())
	}
	if c, err := s.verifier.Verify(t.Context(), access); err != nil || c.Subject() != "user-1" || c.SessionID() != before.SessionID {
		t.Errorf("the access token: %v, %v", c, err)
	}
	if next == before.RefreshToken() {
		t.Error("the refresh token was not rotated")
	}
	tokensIn(t, s.do(post("token", refreshing(next))))
}

// Requests that are refused change nothing: the good twin of each comes after it, with the
// same refresh token.
func TestTokenRequestsRefused(t *testing.T) {
	s := newAppSystem(t)
	raw := s.login(t).RefreshToken()
	good := refreshing(raw)
	body := good.Encode()
	withBody := func(body string, change ...func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodPost, appURL+"token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range change {
			c(r)
		}
		return r
	}
	for _, x := range []struct {
		name   string
		r      *http.Request
		status int
		code   string
	}{
		{"no body", withBody(""), 400, "invalid_client"},
		{"JSON", withBody(`{"grant_type":"refresh_token"}`, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), 400, "invalid_request"},
		{"a form called JSON", withBody(body, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), 400, "invalid_request"},
		{"no Content-Type", withBody(body, func(r *http.Request) { r.Header.Del("Content-Type") }), 400, "invalid_request"},
		{"two Content-Types", withBody(body, header("Content-Type", "text/plain")), 400, "invalid_request"},
		{"in the query", httptest.NewRequest(http.MethodPost, appURL+"token?"+body, nil), 400, "invalid_request"},
		{"the refresh token in the query too", withBody(body, func(r *http.Request) { r.URL.RawQuery = "refresh_token=" + url.QueryEscape(raw) }), 400, "invalid_request"},
		{"a secret in the query", withBody(body, func(r *http.Request) { r.URL.RawQuery = "client_secret=x" }), 400, "invalid_request"},
		{"the refresh token twice", withBody(body + "&refresh_token=" + raw), 400, "invalid_request"},
		{"grant_type twice", withBody(body + "&grant_type=refresh_token"), 400, "invalid_request"},
		{"client_id twice", withBody(body + "&client_id=shop"), 400, "invalid_request"},
		{"an unknown parameter twice", withBody(body + "&x=1&x=2"), 400, "invalid_request"},
		{"a bad escape", withBody(body + "&x=%zz"), 400, "invalid_request"},
		{"a semicolon", withBody(body + ";x=1"), 400, "invalid_request"},
		{"no UTF-8", withBody(body + "&x=%ff"), 400, "invalid_request"},
		{"too large", withBody(body + "&x=" + strings.Repeat("x", 96<<10)), 413, "invalid_request"},
		{"too many parameters", withBody(body + strings.Repeat("&", 64)), 400, "invalid_request"},
		{"no grant_type", post("token", url.Values{"refresh_token": {raw}, "client_id": {"phone"}}), 400, "invalid_request"},
		{"another grant_type", post("token", refreshing(raw, "grant_type", "password")), 400, "unsupported_grant_type"},
		{"grant_type in upper case", post("token", refreshing(raw, "grant_type", "REFRESH_TOKEN")), 400, "unsupported_grant_type"},
		{"no refresh token", post("token", url.Values{"grant_type": {"refresh_token"}, "client_id": {"phone"}}), 400, "invalid_request"},
		{"an empty refresh token", post("token", refreshing("")), 400, "invalid_request"},
		{"no client", post("token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {raw}}), 400, "invalid_client"},
		{"an unknown client", post("token", refreshing(raw, "client_id", "nobody")), 400, "invalid_client"},
		{"a client whose application cannot tell", post("token", refreshing(raw, "client_id", "broken")), 503, "temporarily_unavailable"},
		{"another client", post("token", refreshing(raw, "client_id", "shop", "client_secret", shopSecret)), 400, "invalid_grant"},
		{"an unknown refresh token", post("token", refreshing("htr1_unknown")), 400, "invalid_grant"},
		{"a scope that was not granted", post("token", refreshing(raw, "scope", "read admin")), 400, "invalid_scope"},
	} {
		t.Run(x.name, func(t *testing.T) {
			refused(t, s.do(x.r), x.status, x.code)
			_, next := tokensIn(t, s.do(post("token", refreshing(raw)))) // answered again within the window
			if next == raw {
				t.Error("not rotated")
			}
		})
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		r := withBody(body)
		r.Method = method
		if w := s.do(r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if strings.Contains(s.log.String(), raw) || strings.Contains(s.log.String(), shopSecret) {
		t.Error("a secret is in the log")
	}
}

// What differs from the plain request and means nothing is let pass.
func TestTokenRequestsAccepted(t *testing.T) {
	s := newAppSystem(t)
	raw := s.login(t).RefreshToken()
	for name, r := range map[string]*http.Request{
		"a charset": post("token", refreshing(raw), func(r *http.Request) {
			r.Header.Set("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=UTF-8")
		}),
		"an unknown parameter":  post("token", refreshing(raw, "x", "1")),
		"an empty scope":        post("token", refreshing(raw, "scope", "")),
		"an empty secret":       post("token", refreshing(raw, "client_secret", "")),
		"a narrower scope":      post("token", refreshing(raw, "scope", "read")),
		"another query":         post("token", refreshing(raw), func(r *http.Request) { r.URL.RawQuery = "tenant=1" }),
		"a proof, not asked":    post("token", refreshing(raw)),
		"two resources":         post("token", func() url.Values { f := refreshing(raw); f["resource"] = []string{"a", "b"}; return f }()),
		"a public one by Basic": post("token", refreshing(raw), basic("phone", "")),
	} {
		w := s.do(r)
		if access, _ := tokensIn(t, w); name == "a narrower scope" {
			if c, err := s.verifier.Verify(t.Context(), access); err != nil || c.HasScope("write") || members(t, w)["scope"] != "read" {
				t.Errorf("%s: %v, %v", name, c.Scopes(), err)
			}
		}
	}
}

// A session that is over is invalid_grant; where nobody can tell it never is, and the token
// is good afterwards.
func TestRefreshOverOrUnknown(t *testing.T) {
	s := newAppSystem(t)
	over, goesOn := s.login(t), s.login(t)
	if err := s.sessions.Logout(t.Context(), over.SessionID); err != nil {
		t.Fatal(err)
	}
	refused(t, s.do(post("token", refreshing(over.RefreshToken()))), 400, "invalid_grant")

	s.store.failing(errors.New("down"))
	refused(t, s.do(post("token", refreshing(goesOn.RefreshToken()))), 503, "temporarily_unavailable")
	s.store.failing(nil)
	tokensIn(t, s.do(post("token", refreshing(goesOn.RefreshToken()))))

	// Over here, and told to nobody: the client has to log in all the same.
	pending := s.login(t)
	s.cutOff(errors.New("down"))
	if err := s.sessions.Logout(t.Context(), pending.SessionID); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	refused(t, s.do(post("token", refreshing(pending.RefreshToken()))), 400, "invalid_grant")
}

// A replica that is behind refreshes nobody, and logs nobody out.
func TestRefreshWithStaleDenylist(t *testing.T) {
	s := newAppSystemOf(t, revoke.Config{}, token.DPoPConfig{})
	raw := "htr1_unknown"
	if g, err := s.sessions.Login(t.Context(), refresh.Login{Subject: "user-1", Client: "phone", Audience: []string{"auth"}, AuthTime: time.Now()}); err == nil {
		raw = g.RefreshToken()
	} else {
		t.Fatal(err)
	}
	refused(t, s.do(post("token", refreshing(raw))), 503, "temporarily_unavailable")
}

// thumbprint returns that of a client's key.
func thumbprint(c *tokentest.Client) token.Binding {
	var r issue.Request
	c.Bind(&r)
	return r.Binding
}

func proving(c *tokentest.Client) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add("DPoP", c.Proof(r.Method, appIssuer+r.URL.Path, "")) }
}

// A session that is bound to a key is refreshed with a proof of it alone (RFC 9449 section
// 5), of a public client and of one with a secret.
func TestRefreshBoundToKey(t *testing.T) {
	s := newAppSystem(t)
	c, other := tokentest.NewClient(t), tokentest.NewClient(t)
	for name, x := range map[string]struct {
		f    func(raw string) url.Values
		id   string
		auth func(*http.Request)
	}{
		"public":       {func(raw string) url.Values { return refreshing(raw) }, "phone", func(*http.Request) {}},
		"confidential": {func(raw string) url.Values { return refreshing(raw, "client_id", "shop") }, "shop", basic("shop", shopSecret)},
	} {
		t.Run(name, func(t *testing.T) {
			raw := s.login(t, byClient(x.id), boundTo(thumbprint(c))).RefreshToken()
			ask := func(change ...func(*http.Request)) *httptest.ResponseRecorder {
				return s.do(post("token", x.f(raw), append(change, x.auth)...))
			}
			refused(t, ask(), 400, "invalid_dpop_proof")
			refused(t, ask(header("DPoP", "")), 400, "invalid_dpop_proof")
			refused(t, ask(header("DPoP", "no.proof.atall")), 400, "invalid_dpop_proof")
			refused(t, ask(proving(c), proving(c)), 400, "invalid_dpop_proof")
			refused(t, ask(header("DPoP", c.Proof("GET", appURL+"token", ""))), 400, "invalid_dpop_proof")
			refused(t, ask(header("DPoP", c.Proof("POST", appURL+"revoke", ""))), 400, "invalid_dpop_proof")
			refused(t, ask(proving(other)), 400, "invalid_grant")
			proof := header("DPoP", c.Proof("POST", appURL+"token", ""))
			w := ask(proof)
			access, _ := tokensIn(t, w)
			if kind := members(t, w)["token_type"]; kind != "DPoP" {
				t.Errorf("token_type %v", kind)
			}
			if _, err := s.verifier.Verify(t.Context(), access); !errors.Is(err, token.ErrInvalidToken) {
				t.Errorf("as a bearer token: %v", err)
			}
			refused(t, ask(proof), 400, "invalid_dpop_proof") // a replay of the whole request
			tokensIn(t, ask(proving(c)))                      // the client's own retry
			if w.Header().Get("DPoP-Nonce") != "" {
				t.Error("a nonce that nobody asks for")
			}
		})
	}
	// A session that is bound to none takes no proof.
	raw := s.login(t).RefreshToken()
	refused(t, s.do(post("token", refreshing(raw), proving(c))), 400, "invalid_grant")
	tokensIn(t, s.do(post("token", refreshing(raw))))
}

// With nonces a client is sent one, and the next with each answer (RFC 9449 section 8).
func TestRefreshWithNonce(t *testing.T) {
	s := newAppSystemOf(t, revoke.Config{Local: true}, token.DPoPConfig{RequireNonce: true})
	c := tokentest.NewClient(t)
	raw := s.login(t, boundTo(thumbprint(c))).RefreshToken()
	w := s.do(post("token", refreshing(raw), proving(c)))
	refused(t, w, 400, "use_dpop_nonce")
	if c.Nonce = w.Header().Get("DPoP-Nonce"); c.Nonce == "" {
		t.Fatal("no nonce")
	}
	w = s.do(post("token", refreshing(raw), proving(c)))
	tokensIn(t, w)
	if w.Header().Get("DPoP-Nonce") == "" {
		t.Error("no nonce for the next request")
	}
}

// Strangers, who have keys and no token, do not fill the memory of used proofs.
func TestStrangersProofsAreNotRemembered(t *testing.T) {
	s := newAppSystemOf(t, revoke.Config{Local: true}, token.DPoPConfig{MaxProofs: 1 << 10})
	c := tokentest.NewClient(t)
	g := s.login(t, boundTo(thumbprint(c)))
	for range 3 << 10 {
		refused(t, s.do(post("token", refreshing("htr1_unknown"), proving(tokentest.NewClient(t)))), 400, "invalid_grant")
	}
	tokensIn(t, s.do(post("token", refreshing(g.RefreshToken()), proving(c))))
}

// A session that is bound to a client's certificate is refreshed with it alone (RFC 8705
// section 3).
func TestRefreshBoundToCertificate(t *testing.T) {
	certificates := map[string]*x509.Certificate{"a": {Raw: []byte("certificate a")}, "b": {Raw: []byte("certificate b")}}
	s := newAppSystem(t, func(cfg *web.AppConfig) {
		cfg.ClientCertificate = func(r *http.Request) *x509.Certificate { return certificates[r.Header.Get("Test-Certificate")] }
	})
	a := token.Binding{CertificateThumbprint: token.CertificateThumbprint(certificates["a"])}
	raw := s.login(t, boundTo(a)).RefreshToken()
	// Without a proof there might be a key of which one is missing.
	refused(t, s.do(post("token", refreshing(raw))), 400, "invalid_dpop_proof")
	refused(t, s.do(post("token", refreshing(raw), header("Test-Certificate", "b"), proving(tokentest.NewClient(t)))), 400, "invalid_grant")
	w := s.do(post("token", refreshing(raw), header("Test-Certificate", "a")))
	tokensIn(t, w)
	if kind := members(t, w)["token_type"]; kind != "Bearer" {
		t.Errorf("token_type %v", kind)
	}
}

// A login is answered like a refresh, and bound to the key that the request proves.
func TestAppLogin(t *testing.T) {
	s := newAppSystem(t)
	var grant *refresh.Grant
	var failed error
	login := func(change func(*refresh.Login), r *http.Request) *httptest.ResponseRecorder {
		l := refresh.Login{Subject: "user-1", Client: "phone", Audience: []string{"auth"}, AuthTime: time.Now()}
		change(&l)
		w := httptest.NewRecorder()
		grant, failed = s.Login(w, r, l)
		return w
	}
	same := func(*refresh.Login) {}
	request := func(change ...func(*http.Request)) *http.Request { return post("login", url.Values{}, change...) }

	w := login(same, request())
	_, raw := tokensIn(t, w)
	if failed != nil || grant.RefreshToken() != raw || members(t, w)["token_type"] != "Bearer" {
		t.Errorf("%v, %v", grant, failed)
	}
	tokensIn(t, s.do(post("token", refreshing(raw))))

	c := tokentest.NewClient(t)
	w = login(same, request(proving(c)))
	_, raw = tokensIn(t, w)
	if members(t, w)["token_type"] != "DPoP" {
		t.Error("not bound")
	}
	tokensIn(t, s.do(post("token", refreshing(raw), proving(c))))

	refused(t, login(same, request(header("DPoP", "none"))), 400, "invalid_dpop_proof")
	if !errors.Is(failed, token.ErrProof) || grant != nil {
		t.Errorf("%v, %v", grant, failed)
	}
	refused(t, login(func(l *refresh.Login) { l.Subject = "" }, request()), 500, "server_error")
	if _, err := s.sessions.LogoutAll(t.Context(), "user-1"); err != nil {
		t.Fatal(err)
	}
	refused(t, login(func(l *refresh.Login) { l.AuthTime = time.Now().Add(-time.Minute) }, request()), 400, "invalid_grant")
	s.store.failing(errors.New("down"))
	refused(t, login(same, request()), 503, "temporarily_unavailable")
}

// The page of devices shows where a session lives now.
func TestRefreshNotesDevice(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) {
		cfg.Device = func(r *http.Request) refresh.Device { return refresh.Device{Label: r.Header.Get("User-Agent")} }
	})
	tokensIn(t, s.do(post("token", refreshing(s.login(t).RefreshToken()), header("User-Agent", "phone/2"))))
	list, err := s.sessions.Sessions(t.Context(), "user-1")
	if err != nil || len(list) != 1 || list[0].Device.Label != "phone/2" {
		t.Errorf("%v, %v", list, err)
	}
}
