package token_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func TestNewVerifierRefuses(t *testing.T) {
	keys := forge.StaticKeys(t, forge.Ed(t, "ed", forge.Keys().Ed))
	list := forge.LocalList(t, revoke.Config{TokenLifetime: time.Hour})
	good := token.VerifierConfig{
		Issuer: forge.Issuer, Audiences: []string{forge.Audience}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: list,
	}
	type config = token.VerifierConfig
	for _, x := range []struct {
		field     string
		bad, twin func(*config)
	}{
		{"Issuer", func(c *config) { c.Issuer = "" }, nil},
		{"Leeway", func(c *config) { c.Leeway = 30 }, func(c *config) { c.Leeway = time.Millisecond }},
		{"MaxLifetime", func(c *config) { c.MaxLifetime = 900 }, func(c *config) { c.MaxLifetime = time.Second }}, // 900 of what?
		{"TenantClaim", func(c *config) { c.TenantClaim = "SUB" }, func(c *config) { c.TenantClaim = "tid" }},
		{"TenantClaim", func(c *config) { c.TenantClaim = "\xff" }, nil},
		{"TenantClaim", func(c *config) { c.TenantClaim = "x\n" }, nil},
		{"Issuer", func(c *config) { c.Issuer = strings.Repeat("i", 513) }, func(c *config) { c.Issuer = strings.Repeat("i", 512) }},
		{"Issuer", func(c *config) { c.Issuer = "https://\xff.example.com" }, nil},
		{"Audiences", func(c *config) { c.Audiences = nil }, nil},
		{"Audiences", func(c *config) { c.Audiences = []string{"orders", ""} }, func(c *config) { c.Audiences = []string{"orders", "o"} }},
		{"Algorithms", func(c *config) { c.Algorithms = nil }, nil},
		{"Algorithms", func(c *config) { c.Algorithms = []token.Algorithm{"none"} }, nil},
		{"Algorithms", func(c *config) { c.Algorithms = []token.Algorithm{"eddsa"} }, nil},
		{"Algorithms", func(c *config) { c.Algorithms = []token.Algorithm{""} }, nil},
		{"Algorithms", func(c *config) { c.Algorithms = []token.Algorithm{token.RS256, token.HS256} }, func(c *config) { c.Algorithms = []token.Algorithm{token.HS256, token.HS512} }},
		{"Keys", func(c *config) { c.Keys = nil }, nil},
		{"Keys", func(c *config) { c.Keys = (*token.StaticKeySet)(nil) }, nil},
		{"Keys", func(c *config) { c.Keys = (*token.RemoteKeySet)(nil) }, nil},
		{"Keys", func(c *config) { c.Keys = (*issue.Keyring)(nil) }, nil},
		{"Revocations", func(c *config) { c.Revocations = nil }, func(c *config) { c.Revocations, c.InsecureNoRevocations = nil, true }},
		{"Revocations", func(c *config) { c.Revocations = new(revoke.List) }, nil},
		{"InsecureNoRevocations", func(c *config) { c.InsecureNoRevocations = true }, nil},
		{"Leeway", func(c *config) { c.Leeway = -1 }, func(c *config) { c.Leeway = time.Millisecond }},
		{"Leeway", func(c *config) { c.Leeway = revoke.MaxLeeway + 1 }, func(c *config) { c.Leeway = revoke.MaxLeeway }},
		{"MaxLifetime", func(c *config) { c.MaxLifetime = -1 }, nil},
		{"MaxLifetime", func(c *config) { c.MaxLifetime = time.Hour + 1 }, func(c *config) { c.MaxLifetime = time.Hour }},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = -1 }, nil},
		{"MaxTokenBytes", func(c *config) { c.MaxTokenBytes = 64<<10 + 1 }, func(c *config) { c.MaxTokenBytes = 64 << 10 }},
		{"TenantClaim", func(c *config) { c.TenantClaim = "sub" }, func(c *config) { c.TenantClaim = "org" }},
		{"WhenStale", func(c *config) { c.WhenStale = revoke.AllowYounger(0) }, func(c *config) { c.WhenStale = revoke.AllowYounger(time.Minute) }},
		{"WhenStale", func(c *config) { c.WhenStale = revoke.AllowYounger(time.Hour) }, func(c *config) { c.WhenStale = revoke.InsecureAllow() }},
	} {
		cfg := good
		x.bad(&cfg)
		if v, err := token.NewVerifier(cfg); err == nil || v != nil || !strings.Contains(err.Error(), "VerifierConfig."+x.field+" ") {
			t.Errorf("%s: error %v", x.field, err)
		}
		cfg = good
		if x.twin != nil {
			x.twin(&cfg)
		}
		if v, err := token.NewVerifier(cfg); err != nil || v == nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
		}
	}
}

func TestNewVerifierCopiesItsConfig(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	audiences, algorithms := []string{forge.Audience}, []token.Algorithm{token.EdDSA}
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Audiences, c.Algorithms, c.Keys = audiences, algorithms, forge.StaticKeys(t, ed)
	})
	audiences[0], algorithms[0] = "x", token.RS256
	if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), forge.Claims(time.Now()))); err != nil {
		t.Error(err)
	}
}

func TestNewVerifierWarns(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for name, change := range map[string]func(*token.VerifierConfig){
		"without a denylist": func(*token.VerifierConfig) {},
		"InsecureAllow": func(c *token.VerifierConfig) {
			c.Revocations, c.InsecureNoRevocations, c.WhenStale = forge.LocalList(t, revoke.Config{}), false, revoke.InsecureAllow()
		},
	} {
		var logged bytes.Buffer
		forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			change(c)
		})
		if !strings.Contains(logged.String(), "level=WARN") || !strings.Contains(logged.String(), name) {
			t.Errorf("%s: logged %q", name, &logged)
		}
	}
}
