package web_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
)

const (
	friend   = "https://app.example.com"
	stranger = "https://evil.example.com"
)

// A browser is told that a page may read an answer only where the page's origin stands in
// the list of that endpoint, byte for byte, and never that it may send cookies.
func TestOriginsByEndpoint(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) {
		cfg.Origins = web.Origins{
			Token: []string{friend, "capacitor://localhost", "http://localhost:5173"}, Revocation: []string{friend},
			Account: []string{"https://account.example.com"}, Metadata: []string{"*"},
		}
	})
	for _, x := range []struct{ endpoint, origin, allowed string }{
		{"token", friend, friend},
		{"token", "capacitor://localhost", "capacitor://localhost"},
		{"token", "http://localhost:5173", "http://localhost:5173"},
		{"token", stranger, ""},
		{"token", "https://app.example.com.evil.example", ""},
		{"token", "http://app.example.com", ""},
		{"token", "https://app.example.com:8443", ""},
		{"token", "HTTPS://APP.EXAMPLE.COM", ""},
		{"token", "https://account.example.com", ""},
		{"token", "null", ""},
		{"token", "", ""},
		{"revoke", friend, friend},
		{"revoke", "capacitor://localhost", ""},
		{"introspect", friend, ""},
		{"logout", "https://account.example.com", "https://account.example.com"},
		{"logout", friend, ""},
		{"logout-all", "https://account.example.com", "https://account.example.com"},
		{"sessions", "https://account.example.com", "https://account.example.com"},
		{"sessions/x", "https://account.example.com", "https://account.example.com"},
		{"../.well-known/oauth-authorization-server", stranger, "*"},
	} {
		for _, preflight := range []bool{false, true} {
			method := http.MethodPost
			if preflight {
				method = http.MethodOptions
			}
			r := httptest.NewRequest(method, appURL, nil)
			if r.URL.Path = "/oauth/" + x.endpoint; strings.HasPrefix(x.endpoint, "../") {
				r.URL.Path = x.endpoint[2:]
			}
			if x.origin != "" {
				r.Header.Set("Origin", x.origin)
			}
			if preflight {
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", "dpop")
			}
			w := s.do(r)
			h := w.Header()
			if got := h.Get("Access-Control-Allow-Origin"); got != x.allowed {
				t.Errorf("%s %s from %q: allowed %q, want %q", method, x.endpoint, x.origin, got, x.allowed)
			}
			if h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%s: cookies may come along", x.endpoint)
			}
			varies := slices.Contains(h.Values("Vary"), "Origin")
			if want := x.endpoint != "introspect" && x.allowed != "*"; varies != want {
				t.Errorf("%s %s: Vary %q", method, x.endpoint, h.Values("Vary"))
			}
			switch {
			case x.allowed == "*" || x.endpoint == "introspect":
			case preflight && x.allowed != "":
				if w.Code != http.StatusNoContent || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "DPoP") || h.Get("Access-Control-Allow-Methods") == "" || h.Get("Access-Control-Max-Age") == "" {
					t.Errorf("preflight of %s: %d, %v", x.endpoint, w.Code, h)
				}
			case preflight:
				if w.Code != http.StatusForbidden || h.Get("Access-Control-Allow-Methods") != "" {
					t.Errorf("preflight of %s from %q: %d, %v", x.endpoint, x.origin, w.Code, h)
				}
			case x.allowed != "":
				if !strings.Contains(h.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
					t.Errorf("%s: a page cannot read the nonce", x.endpoint)
				}
			}
		}
	}
}

// A page reads why it was refused, too.
func TestRefusalsReachPages(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) { cfg.Origins.Token, cfg.Origins.Account = []string{friend}, []string{friend} })
	w := s.do(post("token", refreshing("htr1_unknown"), header("Origin", friend)))
	refused(t, w, 400, "invalid_grant")
	if w.Header().Get("Access-Control-Allow-Origin") != friend {
		t.Error("the token endpoint's is not shown")
	}
	w = s.do(post("logout-all", nil, header("Origin", friend), bearing("no.good.token")))
	refused(t, w, 401, "invalid_token")
	if w.Header().Get("Access-Control-Allow-Origin") != friend {
		t.Error("the middleware's is not shown")
	}
}

// Two Origin headers are no origin.
func TestTwoOrigins(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) { cfg.Origins.Token = []string{friend} })
	w := s.do(post("token", refreshing("x"), header("Origin", friend), header("Origin", stranger)))
	if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("allowed %q", got)
	}
}
