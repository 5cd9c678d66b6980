package web_test

import (
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What cannot work, or would be unsafe, is refused with the field's name.
func TestNewAppRefuses(t *testing.T) {
	s := newAppSystem(t)
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	of := func(issuer string) *token.Verifier {
		keys, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		v, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: list})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	several, err := token.OneOf(of("https://a.example.com"), of("https://b.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	issuer := func(iss string) func(*web.AppConfig) {
		return func(c *web.AppConfig) { c.Sessions, c.Verifier = s.sessionsOf(t, iss), of(iss) }
	}
	for _, x := range []struct {
		field  string
		change func(*web.AppConfig)
	}{
		{"Sessions", func(c *web.AppConfig) { c.Sessions = nil }},
		{"Verifier", func(c *web.AppConfig) { c.Verifier = nil }},
		{"Verifier", func(c *web.AppConfig) { c.Verifier = several }},
		{"Verifier", issuer("auth")},
		{"Verifier", issuer("http://auth.example.com")},
		{"Verifier", issuer("https://auth.example.com/")},
		{"Verifier", issuer("https://auth.example.com?x")},
		{"Verifier", func(c *web.AppConfig) { c.Verifier = of("https://other.example.com") }},
		{"Client", func(c *web.AppConfig) { c.Client = nil }},
		{"Path", func(c *web.AppConfig) { c.Path = "oauth/" }},
		{"Path", func(c *web.AppConfig) { c.Path = "/oauth" }},
		{"Path", func(c *web.AppConfig) { c.Path = "/{x}/" }},
		{"Path", func(c *web.AppConfig) { c.Path = "//" }},
		{"JWKS", func(c *web.AppConfig) { c.JWKS = "/jwks.json" }},
		{"Metadata", func(c *web.AppConfig) { c.Metadata = map[string]any{"issuer": "https://evil.example.com"} }},
		{"Metadata", func(c *web.AppConfig) { c.Metadata = map[string]any{"token_endpoint": "https://evil.example.com"} }},
		{"Metadata", func(c *web.AppConfig) { c.Metadata = map[string]any{"x": func() {}} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"*"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"null"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"app.example.com"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"https://app.example.com/"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"https://app.example.com/a"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"https://App.example.com"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"https://app.example.com:443"} }},
		{"Origins.Token", func(c *web.AppConfig) { c.Origins.Token = []string{"http://app.example.com"} }},
		{"Origins.Revocation", func(c *web.AppConfig) { c.Origins.Revocation = []string{"https://*.example.com/"} }},
		{"Origins.Account", func(c *web.AppConfig) { c.Origins.Account = []string{"*"} }},
		{"Origins.Metadata", func(c *web.AppConfig) { c.Origins.Metadata = []string{"*", "https://app.example.com"} }},
	} {
		cfg := web.AppConfig{Sessions: s.sessions, Verifier: s.verifier, Client: s.client}
		if _, err := web.NewApp(cfg); err != nil {
			t.Fatalf("the good twin: %v", err)
		}
		x.change(&cfg)
		if _, err := web.NewApp(cfg); err == nil || !strings.Contains(err.Error(), "field "+x.field+" ") {
			t.Errorf("%s: %v", x.field, err)
		}
	}
	for _, issuer := range []string{"http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "https://auth.example.com/tenant"} {
		if _, err := web.NewApp(web.AppConfig{Sessions: s.sessionsOf(t, issuer), Verifier: of(issuer), Client: s.client}); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

// The configuration is copied: nobody adds an origin later.
func TestNewAppCopies(t *testing.T) {
	origins := []string{friend}
	s := newAppSystem(t, func(c *web.AppConfig) { c.Origins.Token = origins })
	origins[0] = stranger
	if w := s.do(post("token", refreshing("x"), header("Origin", stranger))); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger was let in")
	}
	if w := s.do(post("token", refreshing("x"), header("Origin", friend))); w.Header().Get("Access-Control-Allow-Origin") != friend {
		t.Error("a friend was shut out")
	}
}
