package web_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/token"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", appIssuer+path, nil))
	return w
}

// The metadata names the issuer as tokens do, and what there is, under each spelling of its
// address (RFC 8414 sections 2, 3 and 5).
func TestMetadata(t *testing.T) {
	s := newAppSystem(t, func(cfg *web.AppConfig) {
		cfg.JWKS = appIssuer + "/jwks.json"
		cfg.Metadata = map[string]any{"authorization_endpoint": appIssuer + "/authorize", "response_types_supported": []string{"code"}}
	})
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		w := get(s.Handler(), path)
		m := members(t, w)
		for name, want := range map[string]any{
			"issuer": appIssuer, "token_endpoint": appURL + "token", "revocation_endpoint": appURL + "revoke", "introspection_endpoint": appURL + "introspect",
			"jwks_uri": appIssuer + "/jwks.json", "authorization_endpoint": appIssuer + "/authorize",
		} {
			if m[name] != want {
				t.Errorf("%s: %s is %v, want %v", path, name, m[name], want)
			}
		}
		for name, want := range map[string][]any{
			"grant_types_supported": {"refresh_token"}, "response_types_supported": {"code"},
			"token_endpoint_auth_methods_supported":         {"client_secret_basic", "client_secret_post", "none"},
			"introspection_endpoint_auth_methods_supported": {"client_secret_basic", "client_secret_post"},
			"dpop_signing_alg_values_supported":             {"ES256", "Ed25519", "EdDSA", "PS256"},
		} {
			if got, _ := m[name].([]any); !slices.Equal(got, want) {
				t.Errorf("%s is %v, want %v", name, m[name], want)
			}
		}
		if got := w.Header().Get("Cache-Control"); got != "public, max-age=300" {
			t.Errorf("Cache-Control %q", got)
		}
	}
	r := httptest.NewRequest("POST", appIssuer+"/.well-known/oauth-authorization-server", nil)
	if w := s.do(r); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d %q", w.Code, w.Header().Get("Allow"))
	}

	// Every endpoint that is named is there.
	bare := newAppSystem(t, func(cfg *web.AppConfig) { cfg.Resource, cfg.DPoP, cfg.Path = nil, nil, "/a/b/" })
	m := members(t, get(bare.Handler(), "/.well-known/oauth-authorization-server"))
	named := 0
	for name, v := range m {
		if strings.HasSuffix(name, "_endpoint") {
			named++
			if w := get(bare.Handler(), strings.TrimPrefix(v.(string), appIssuer)); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", name, v, w.Code)
			}
		}
	}
	if named != 2 || m["dpop_signing_alg_values_supported"] != nil || m["jwks_uri"] != nil || m["token_endpoint"] != appIssuer+"/a/b/token" {
		t.Errorf("%v", m)
	}
}

// A verifier that knows only the issuer finds its keys, where the issuer has a path too.
func TestMetadataIsDiscovered(t *testing.T) {
	for _, path := range []string{"", "/tenant/one"} {
		s := newAppSystem(t)
		mux := http.NewServeMux()
		server := httptest.NewTLSServer(mux)
		t.Cleanup(server.Close)
		issuer := server.URL + path
		v, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: s.keys, Revocations: s.list})
		if err != nil {
			t.Fatal(err)
		}
		app, err := web.NewApp(web.AppConfig{Sessions: s.sessionsOf(t, issuer), Verifier: v, Client: s.client, JWKS: server.URL + "/jwks.json"})
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{"/.well-known/oauth-authorization-server" + path, path + "/.well-known/openid-configuration", path + "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration" + path} {
			if w := get(app.Handler(), address); w.Code != http.StatusOK || members(t, w)["issuer"] != issuer {
				t.Errorf("%s: %d", address, w.Code)
			}
		}
		mux.Handle("/", app.Handler())
		mux.Handle("/jwks.json", s.keys)
		keys, err := token.Discover(t.Context(), issuer, token.RemoteKeySetConfig{Transport: server.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { keys.Close() })
		active := s.keys.Active()
		if key, err := keys.Lookup(t.Context(), active.ID(), active.Algorithm()); err != nil || key.Thumbprint() != active.Thumbprint() {
			t.Errorf("issuer %s: %v", issuer, err)
		}
	}
}
