package token_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/idp"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

const thirdGUID = "33333333-4444-5555-6666-777777777777"

func entraIssuer(tenant string) string {
	return "https://login.microsoftonline.com/" + tenant + "/v2.0"
}

// Any tenant of Entra: a token is of the tenant that iss, tid and the key agree on, and a
// revocation of one tenant's concerns no other's.
func TestEntraTenants(t *testing.T) {
	forge.Keys()
	const keysURL = "https://login.microsoftonline.com/common/discovery/v2.0/keys"
	synctest.Test(t, func(t *testing.T) {
		w := new(forge.Web)
		var published []forge.Object
		publish := func(kid, issuer string) forge.Signer {
			private := forge.NewEd(t)
			o := forge.JWK(t, private.Public()).With("kid", strconv.Quote(kid))
			if issuer != "" {
				o = o.With("issuer", issuer)
			}
			published = append(published, o)
			return forge.Ed(t, kid, private)
		}
		all := publish("all", `"https://login.microsoftonline.com/{tenantid}/v2.0"`)
		one, other := publish("one", strconv.Quote(entraIssuer(forge.TenantGUID))), publish("other", strconv.Quote(entraIssuer(forge.OtherGUID)))
		nobodys, odd := publish("nobodys", ""), publish("odd", `17`)
		w.Set(keysURL, forge.JSON(forge.JWKS(published...)))
		keys, err := token.NewRemoteKeySet(t.Context(), keysURL, token.RemoteKeySetConfig{Algorithms: []token.Algorithm{token.EdDSA}, Transport: w})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		customers := map[string]bool{forge.TenantGUID: true, forge.OtherGUID: true}
		list := forge.LocalList(t, revoke.Config{TokenLifetime: 2 * time.Hour})
		cfg := idp.EntraTenants(func(tenant string) bool { return customers[tenant] })
		cfg.Audiences, cfg.Keys, cfg.Revocations, cfg.Algorithms = []string{"api"}, keys, list, []token.Algorithm{token.EdDSA}
		v, err := token.NewVerifier(cfg)
		if err != nil {
			t.Fatal(err)
		}
		claims := func(iss, tid string) forge.Object {
			now := time.Now().Unix()
			return forge.Object{
				"aud", `"api"`, "iss", strconv.Quote(iss), "iat", forge.Number(now), "nbf", forge.Number(now), "exp", forge.Number(now + 3600), "azp", `"web"`, "sid", `"s-1"`,
				"sub", `"pairwise"`, "tid", strconv.Quote(tid), "uti", `"u-1"`, "ver", `"2.0"`, "scp", `"orders.read"`,
			}
		}
		raw := func(s forge.Signer, iss, tid string) string {
			return s.Forge(s.Header().With("typ", `"JWT"`), claims(iss, tid))
		}
		upper := strings.ToUpper("abcdefab-2222-3333-4444-555555555555")
		customers[upper], customers[strings.ToLower(upper)], customers[""], customers["common"] = true, true, true, true
		for _, x := range []struct {
			name string
			raw  string
			want error
		}{
			{"a tenant's", raw(all, entraIssuer(forge.TenantGUID), forge.TenantGUID), nil},
			{"another tenant's", raw(all, entraIssuer(forge.OtherGUID), forge.OtherGUID), nil},
			{"by the tenant's own key", raw(one, entraIssuer(forge.TenantGUID), forge.TenantGUID), nil},
			{"by another tenant's key", raw(other, entraIssuer(forge.TenantGUID), forge.TenantGUID), token.ErrUnknownKey},
			{"by another tenant's key, who says so in tid", raw(other, entraIssuer(forge.TenantGUID), forge.OtherGUID), token.ErrUnknownKey},
			{"by another tenant's key, who says so in iss", raw(other, entraIssuer(forge.OtherGUID), forge.TenantGUID), token.ErrIssuer},
			{"by a key that names nobody", raw(nobodys, entraIssuer(forge.TenantGUID), forge.TenantGUID), token.ErrUnknownKey},
			{"by a key that names what is no issuer", raw(odd, entraIssuer(forge.TenantGUID), forge.TenantGUID), token.ErrUnknownKey},
			{"iss and tid differ", raw(all, entraIssuer(forge.TenantGUID), forge.OtherGUID), token.ErrIssuer},
			{"not a customer", raw(all, entraIssuer(thirdGUID), thirdGUID), token.ErrIssuer},
			{"the template itself", raw(all, entraIssuer("{tenantid}"), "{tenantid}"), token.ErrIssuer},
			{"common", raw(all, entraIssuer("common"), "common"), token.ErrIssuer},
			{"no tenant", raw(all, entraIssuer(""), ""), token.ErrClaims},
			{"capital letters", raw(all, entraIssuer(upper), upper), token.ErrIssuer},
			{"capital letters in tid", raw(all, entraIssuer(strings.ToLower(upper)), upper), token.ErrIssuer},
			{"a path in the tenant", raw(all, entraIssuer("1111/111-2222-3333-4444-555555555555"), "1111/111-2222-3333-4444-555555555555"), token.ErrUnknownKey},
			{"a slash too many", raw(all, entraIssuer(forge.TenantGUID)+"/", forge.TenantGUID), token.ErrUnknownKey},
			{"another host", raw(all, "https://login.evil.example/"+forge.TenantGUID+"/v2.0", forge.TenantGUID), token.ErrUnknownKey},
			{"no tid", all.Forge(all.Header().With("typ", `"JWT"`), claims(entraIssuer(forge.TenantGUID), forge.TenantGUID).Without("tid")), token.ErrClaims},
			{"tid null", all.Forge(all.Header().With("typ", `"JWT"`), claims(entraIssuer(forge.TenantGUID), forge.TenantGUID).With("tid", `null`)), token.ErrClaims},
			{"for another API", all.Forge(all.Header().With("typ", `"JWT"`), claims(entraIssuer(forge.TenantGUID), forge.TenantGUID).With("aud", `"graph"`)), token.ErrAudience},
		} {
			c, err := v.Verify(t.Context(), x.raw)
			if !errors.Is(err, x.want) || (c == nil) == (err == nil) {
				t.Errorf("%s: %v, error %v, want %v", x.name, c, err, x.want)
			}
			if c != nil && c.Issuer() != entraIssuer(c.Tenant()) {
				t.Errorf("%s: issuer %q, tenant %q", x.name, c.Issuer(), c.Tenant())
			}
		}

		// What is remembered is judged anew: a customer who leaves is out at once.
		left := raw(all, entraIssuer(forge.OtherGUID), forge.OtherGUID)
		c, err := v.Verify(t.Context(), left)
		if err != nil {
			t.Fatal(err)
		}
		customers[forge.OtherGUID] = false
		if _, err := v.Verify(t.Context(), left); !errors.Is(err, token.ErrIssuer) {
			t.Errorf("after the customer left: error %v", err)
		}
		if err := v.Recheck(t.Context(), c); !errors.Is(err, token.ErrIssuer) {
			t.Errorf("Recheck after the customer left: error %v", err)
		}
		customers[forge.OtherGUID] = true

		// Each tenant is an issuer of its own: the same sub, sid and uti at another are another's.
		for _, kind := range []revoke.Event{
			{Kind: revoke.KindSubject, Value: "pairwise"}, {Kind: revoke.KindSession, Value: "s-1"}, {Kind: revoke.KindToken, Value: "u-1"},
			{Kind: revoke.KindClient, Value: "web"}, {Kind: revoke.KindTenant, Value: forge.TenantGUID}, {Kind: revoke.KindIssuer},
		} {
			kind.Issuer = entraIssuer(forge.TenantGUID)
			list := forge.LocalList(t, revoke.Config{TokenLifetime: 2 * time.Hour})
			cfg := cfg
			cfg.Revocations = list
			v, err := token.NewVerifier(cfg)
			if err != nil {
				t.Fatal(err)
			}
			mine, others := raw(all, entraIssuer(forge.TenantGUID), forge.TenantGUID), raw(all, entraIssuer(forge.OtherGUID), forge.OtherGUID)
			for range 2 { // new and remembered
				forge.Apply(t, list, kind)
				if _, err := v.Verify(t.Context(), mine); !errors.Is(err, revoke.ErrRevoked) {
					t.Errorf("%v: error %v", kind.Kind, err)
				}
				if _, err := v.Verify(t.Context(), others); err != nil {
					t.Errorf("%v, another tenant's: %v", kind.Kind, err)
				}
			}
			if s := list.Stats(revoke.Now()); s.ForeignIssuer != 0 || len(list.ExpectedIssuers()) != 0 {
				t.Errorf("%v: %d events count as foreign, expected %q", kind.Kind, s.ForeignIssuer, list.ExpectedIssuers())
			}
		}

		// Beside other issuers.
		a := forge.Ed(t, "a", forge.Keys().Ed)
		both, err := token.OneOf(v, verifierOf(t, "https://a.example.com", a, nil))
		if err != nil {
			t.Fatal(err)
		}
		for name, x := range map[string]struct {
			raw  string
			want error
		}{
			"a tenant's":       {raw(all, entraIssuer(forge.TenantGUID), forge.TenantGUID), nil},
			"A's":              {a.Forge(a.Header(), forge.Claims(time.Now()).With("iss", `"https://a.example.com"`)), nil},
			"A's, by Entra":    {raw(all, "https://a.example.com", forge.TenantGUID), token.ErrType},
			"a tenant's, by A": {raw(a, entraIssuer(forge.TenantGUID), forge.TenantGUID), token.ErrUnknownKey},
			"the template":     {raw(all, entraIssuer("{tenantid}"), forge.TenantGUID), token.ErrIssuer},
			"common":           {raw(all, entraIssuer("common"), "common"), token.ErrIssuer},
		} {
			c, err := both.Verify(t.Context(), x.raw)
			if !errors.Is(err, x.want) {
				t.Errorf("OneOf, %s: error %v, want %v", name, err, x.want)
			}
			if c != nil {
				if err := both.Recheck(t.Context(), c); err != nil {
					t.Errorf("OneOf, %s: Recheck: %v", name, err)
				}
			}
		}
		single := verifierOf(t, entraIssuer(forge.TenantGUID), a, nil)
		for _, pair := range [][]*token.Verifier{{v, single}, {single, v}} {
			if _, err := token.OneOf(pair...); err == nil || !strings.Contains(err.Error(), "tenant's issuer") {
				t.Errorf("a tenant beside all of them: error %v", err)
			}
		}
	})
}

func TestTenantsRefused(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	anybody := func(string) bool { return true }
	good := idp.EntraTenants(anybody)
	good.Audiences, good.Keys, good.Revocations = []string{"a"}, forge.StaticKeys(t, ed), forge.LocalList(t, revoke.Config{})
	for want, change := range map[string]func(*token.VerifierConfig){
		"Issuer holds {tenantid}":          func(c *token.VerifierConfig) { c.Profile.Tenants = nil },
		"Profile.Tenants is set, and":      func(c *token.VerifierConfig) { c.Issuer = entraIssuer(forge.TenantGUID) },
		"Profile.Tenants is set, and Issu": func(c *token.VerifierConfig) { c.Issuer += "/{tenantid}" },
		"OwnIssuer contradicts":            func(c *token.VerifierConfig) { c.OwnIssuer = true },
		"TenantClaim is empty":             func(c *token.VerifierConfig) { c.TenantClaim = "" },
	} {
		cfg := good
		change(&cfg)
		if v, err := token.NewVerifier(cfg); v != nil || err == nil || !strings.Contains(err.Error(), "VerifierConfig."+want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, err := token.NewVerifier(good); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// Issuers that write numbers: an event names the digits, and nothing else is a number.
func TestNumericClaims(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for _, claim := range []string{"sub", "client_id", "jti", "sid", "tenant", "azp"} {
		list := forge.LocalList(t, revoke.Config{})
		with := func(numeric ...string) *token.Verifier {
			return forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.TenantClaim = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), "tenant"
				c.Revocations, c.InsecureNoRevocations = list, false
				c.Profile.ClientClaim, c.Profile.Numeric = "azp", numeric
			})
		}
		claims := forge.Claims(time.Now())
		if claim == "azp" {
			claims = claims.Without("client_id")
		}
		get := func(c *token.Claims) string {
			return map[string]string{"sub": c.Subject(), "client_id": c.ClientID(), "jti": c.ID(), "sid": c.SessionID(), "tenant": c.Tenant(), "azp": c.ClientID()}[claim]
		}
		for form, want := range map[string]string{
			"17": "17", "0": "0", "-5": "-5", "9007199254740992": "9007199254740992", `"17"`: "17", `"a"`: "a",
			"-0": "", "1e3": "", "17.0": "", "1.5": "", "9007199254740993": "", "-9007199254740993": "", "99999999999999999999": "", `""`: "", "true": "", "[17]": "", "{}": "",
		} {
			raw := ed.Forge(ed.Header(), claims.With(claim, form))
			c, err := with(claim).Verify(t.Context(), raw)
			if want == "" && !errors.Is(err, token.ErrClaims) || want != "" && (err != nil || get(c) != want) {
				t.Errorf("%s %s: %v, error %v", claim, form, c, err)
			}
			others := []string{"sub", "jti"}
			if claim == "sub" {
				others = []string{"jti"}
			} else if claim == "jti" {
				others = []string{"sub"}
			}
			if _, err := with(others...).Verify(t.Context(), raw); form[0] != '"' && !errors.Is(err, token.ErrClaims) {
				t.Errorf("%s %s where it is not to be a number: error %v", claim, form, err)
			}
		}
		event := revoke.Event{Issuer: forge.Issuer, Value: "17", Kind: map[string]revoke.Kind{
			"sub": revoke.KindSubject, "client_id": revoke.KindClient, "jti": revoke.KindToken, "sid": revoke.KindSession, "tenant": revoke.KindTenant, "azp": revoke.KindClient}[claim]}
		forge.Apply(t, list, event)
		if _, err := with(claim).Verify(t.Context(), ed.Forge(ed.Header(), claims.With(claim, "17"))); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%s: an event for its digits: error %v", claim, err)
		}
		if _, err := with(claim).Verify(t.Context(), ed.Forge(ed.Header(), claims.With(claim, "18"))); err != nil {
			t.Errorf("%s: another's: %v", claim, err)
		}
	}
	for _, name := range []string{"", "exp", "aud", "email", "azp"} {
		cfg := token.VerifierConfig{Issuer: forge.Issuer, Audiences: []string{"a"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: forge.StaticKeys(t, ed), Revocations: forge.LocalList(t, revoke.Config{}), Profile: token.Profile{Numeric: []string{name}}}
		if v, err := token.NewVerifier(cfg); v != nil || err == nil || !strings.Contains(err.Error(), "Profile.Numeric ") {
			t.Errorf("Numeric of %q: error %v", name, err)
		}
	}
}
