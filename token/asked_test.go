package token_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A claim that nothing configured asks for refuses no token, whatever it holds, and its
// accessor returns what it returns of a token without it. Where something asks for it,
// the token is refused.
func TestAskedClaims(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	long := `"` + strings.Repeat("x", revoke.MaxValueBytes+1) + `"`
	texts := []string{`17`, `0`, `-1.5`, `true`, `false`, `["a"]`, `[]`, `{}`, `{"a":1}`} // in place of a string
	identifiers := append([]string{`""`, long, `" x"`, `"x\u0000"`}, texts...)
	times := []string{`"946684900"`, `"2000-01-01T00:00:00Z"`, `""`, `true`, `[]`, `{}`, `[946684900]`, `1e400`, `946684900000`}
	type config = token.VerifierConfig
	denylist := func(c *config) {
		c.Revocations, c.InsecureNoRevocations = forge.LocalList(t, revoke.Config{}), false
	}
	plain := func(*config) {}
	for _, x := range []struct {
		claim  string
		null   bool // means the same as none, also where the claim is asked for
		forms  []string
		absent func(*token.Claims) bool
		// Who asks, and for the answer.
		asks map[string]func(*config)
		opts []token.VerifyOption
		want error
	}{
		{"sid", true, identifiers, func(c *token.Claims) bool { return c.SessionID() == "" },
			map[string]func(*config){
				"a denylist":   denylist,
				"SessionClaim": func(c *config) { c.Profile.SessionClaim = "session" },
			}, nil, token.ErrClaims},
		{"tenant", true, identifiers, func(c *token.Claims) bool { return c.Tenant() == "" },
			map[string]func(*config){"TenantClaim": func(c *config) { c.TenantClaim = "tenant" }}, nil, token.ErrClaims},
		{"tenant", true, identifiers, func(c *token.Claims) bool { return c.Tenant() == "" },
			map[string]func(*config){"OwnIssuer": func(c *config) { c.OwnIssuer = true }}, nil, token.ErrClaims},
		{"scope", false, texts, func(c *token.Claims) bool { return c.Scopes() == nil && !c.HasScope("a") },
			map[string]func(*config){"RequireScope": plain}, []token.VerifyOption{token.RequireScope("a")}, token.ErrInsufficientScope},
		{"auth_time", false, times, func(c *token.Claims) bool { return c.AuthTime().IsZero() },
			map[string]func(*config){"RequireFresh": plain}, []token.VerifyOption{token.RequireFresh(time.Hour)}, token.ErrInsufficientAuthentication},
		{"acr", false, texts, func(c *token.Claims) bool { return c.ACR() == "" },
			map[string]func(*config){"RequireACR": plain}, []token.VerifyOption{token.RequireACR("a")}, token.ErrInsufficientAuthentication},
		{"amr", false, []string{`"pwd"`, `17`, `true`, `{}`, `["pwd",1]`, `[["pwd"]]`}, func(c *token.Claims) bool { return c.AMR() == nil }, nil, nil, nil},
	} {
		v := func(change func(*config)) *token.Verifier {
			return forge.Verifier(t, func(c *config) {
				c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
				change(c)
			})
		}
		for _, form := range append(x.forms, "null") {
			raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).With(x.claim, form))
			c, err := v(plain).Verify(t.Context(), raw)
			if err != nil || !x.absent(c) {
				t.Errorf("%s %.20s, which nothing asks for: %v, error %v", x.claim, form, c, err)
				continue
			}
			if got, ok := c.Claim(x.claim); !ok || string(got) != form {
				t.Errorf("%s %.20s: Claim returns %s", x.claim, form, got)
			}
			for who, change := range x.asks {
				want := x.want
				if form == "null" && x.null {
					want = nil
				}
				c, err := v(change).Verify(t.Context(), raw, x.opts...)
				if !errors.Is(err, want) || (c == nil) == (err == nil) || err != nil && (!strings.Contains(err.Error(), x.claim) || forge.Leaks(err.Error(), raw) != "") {
					t.Errorf("%s %.20s, which %s asks for: %v, error %v, want %v", x.claim, form, who, c, err, want)
				}
			}
		}
		// The good twins: what is in order is read, and good enough.
		good := forge.Claims(time.Now()).With("scope", `"a b"`).With("acr", `"a"`).With("amr", `["pwd"]`).With("auth_time", forge.Number(time.Now().Unix()))
		raw := ed.Forge(ed.Header(), good)
		if c, err := v(plain).Verify(t.Context(), raw); err != nil || x.absent(c) {
			t.Errorf("%s: the good twin: %v", x.claim, err)
		}
		for who, change := range x.asks {
			if c, err := v(change).Verify(t.Context(), raw, x.opts...); err != nil || x.absent(c) {
				t.Errorf("%s, %s: the good twin: %v", x.claim, who, err)
			}
		}
	}
}

// What an unusable claim asked for is judged each time that a remembered token comes.
func TestAskedClaimsOfARememberedToken(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).With("auth_time", `"now"`).With("scope", `["a"]`))
	for range 3 {
		c, err := v.Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), raw, token.RequireFresh(time.Hour)); !errors.Is(err, token.ErrInsufficientAuthentication) {
			t.Errorf("RequireFresh: error %v", err)
		}
		if err := v.Recheck(t.Context(), c, token.RequireScope("a")); !errors.Is(err, token.ErrInsufficientScope) {
			t.Errorf("RequireScope: error %v", err)
		}
	}
}

// What restricts a token is never passed over, whatever its form; and no option is
// needed for a claim that is required.
func TestRestrictionsAreAlwaysAskedFor(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	for _, x := range []struct {
		claim, form string
		want        error
	}{
		{"nbf", `null`, token.ErrClaims}, {"nbf", `"1"`, token.ErrClaims}, {"exp", `null`, token.ErrClaims}, {"iat", `null`, token.ErrClaims},
		{"cnf", `null`, token.ErrBinding}, {"cnf", `[]`, token.ErrBinding}, {"cnf", `{"jkt":null}`, token.ErrBinding},
		{"sub", `null`, token.ErrClaims}, {"jti", `null`, token.ErrClaims}, {"client_id", `null`, token.ErrClaims}, {"aud", `null`, token.ErrClaims},
	} {
		if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), forge.Claims(time.Now()).With(x.claim, x.form))); !errors.Is(err, x.want) {
			t.Errorf("%s %s: error %v, want %v", x.claim, x.form, err, x.want)
		}
	}
}
