package token_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Tokens of the version before are accepted, as long as they live and nothing revokes
// them, and revoked by each kind of event as they always were.
func TestTokensOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, _ := forge.AboutWritten(t)
		time.Sleep(time.Until(at.Add(time.Second)))
		var raws map[string]string
		if err := json.Unmarshal(forge.Written(t, "tokens.json"), &raws); err != nil {
			t.Fatal(err)
		}
		const issuer = "https://auth.example.com"
		verifier := func(name string, list *revoke.List) *token.Verifier {
			alg, set := token.EdDSA, "jwks-plain.json"
			if strings.HasPrefix(name, "es256") {
				alg, set = token.ES256, "jwks-sealed.json"
			}
			keys, err := token.ParseKeySet(forge.Written(t, set), alg)
			if err != nil {
				t.Fatal(err)
			}
			v, err := token.NewVerifier(token.VerifierConfig{Issuer: issuer, Audiences: []string{"api"}, Algorithms: []token.Algorithm{alg}, Keys: keys, Revocations: list})
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		if len(raws) != 10 {
			t.Fatalf("%d tokens", len(raws))
		}
		ids := map[string]revoke.Identity{}
		for name, raw := range raws {
			c, err := verifier(name, forge.LocalList(t, revoke.Config{})).Verify(t.Context(), raw)
			if strings.HasPrefix(name, "bound") {
				if !errors.Is(err, token.ErrBinding) { // no key is proven
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			ids[name] = c.Identity()
			switch {
			case c.Issuer() != issuer || c.ID() == "" || c.ExpiresAt().Sub(c.IssuedAt()) != 15*time.Minute:
				t.Errorf("%s: %v", name, c)
			case strings.HasPrefix(name, "plain"):
				role, _ := c.Claim("role")
				if c.Subject() != "user-1" || c.SessionID() != "session-1" || c.Tenant() != "acme" || c.ClientID() != "web" || !c.HasScope("read") || string(role) != `"admin"` {
					t.Errorf("%s: %v", name, c)
				}
			case strings.HasPrefix(name, "client") && (c.Subject() != "batch" || c.SessionID() != ""):
				t.Errorf("%s: %v", name, c)
			}
		}

		id := ids["plain"]
		byToken, err := revoke.TokenOf(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []revoke.Event{
			byToken,
			{Kind: revoke.KindSession, Value: "session-1"},
			{Kind: revoke.KindSubject, Value: "user-1"}, // a cutoff is that much ahead of now
			{Kind: revoke.KindSubject, Value: "user-1", Before: at, Keep: []string{"session-2"}},
			{Kind: revoke.KindClient, Value: "web", Before: at},
			{Kind: revoke.KindTenant, Value: "acme", Before: at},
			{Kind: revoke.KindKey, Value: id.Key},
			{Kind: revoke.KindIssuer, Before: at},
		} {
			e.Issuer = issuer
			list := forge.LocalList(t, revoke.Config{})
			v := verifier("plain", list)
			if _, err := v.Verify(t.Context(), raws["plain"]); err != nil {
				t.Fatal(err)
			}
			forge.Apply(t, list, e)
			for range 2 { // the second time it is remembered
				if _, err := v.Verify(t.Context(), raws["plain"]); !errors.Is(err, revoke.ErrRevoked) {
					t.Errorf("%s: %v", e.Kind, err)
				}
			}
			if _, err := v.Verify(t.Context(), raws["client"]); errors.Is(err, revoke.ErrRevoked) != (e.Kind == revoke.KindKey || e.Kind == revoke.KindIssuer) {
				t.Errorf("%s: the token of another: %v", e.Kind, err)
			}
		}
		// One that was dated past a cutoff is spared by it, and not by the next.
		list := forge.LocalList(t, revoke.Config{})
		forge.Apply(t, list, revoke.Event{Issuer: issuer, Kind: revoke.KindSubject, Value: "user-1", Before: at.Add(2 * time.Second)})
		v := verifier("plain", list)
		if _, err := v.Verify(t.Context(), raws["post-dated"]); err != nil {
			t.Errorf("post-dated: %v", err)
		}
		if _, err := v.Verify(t.Context(), raws["plain"]); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("before that cutoff: %v", err)
		}
		forge.Apply(t, list, revoke.Event{Issuer: issuer, Kind: revoke.KindSubject, Value: "user-1"})
		if _, err := v.Verify(t.Context(), raws["post-dated"]); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("post-dated, after the next cutoff: %v", err)
		}

		time.Sleep(16 * time.Minute)
		for name, raw := range raws {
			if _, err := verifier(name, forge.LocalList(t, revoke.Config{})).Verify(t.Context(), raw); !errors.Is(err, token.ErrExpired) && !strings.HasPrefix(name, "bound") {
				t.Errorf("%s, when its life is over: %v", name, err)
			}
		}
	})
}
