package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Each loosener lets through what it names and nothing else. strict is what a
// verifier without a Profile says of the same token; after it, what one with it does.
func TestProfile(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	type profile = token.Profile
	type edit func(forge.Object) forge.Object
	same := func(o forge.Object) forge.Object { return o }
	typ := func(raw string) edit { return func(o forge.Object) forge.Object { return o.With("typ", raw) } }
	with := func(pairs ...string) edit {
		return func(o forge.Object) forge.Object {
			for i := 0; i < len(pairs); i += 2 {
				if pairs[i+1] == "" {
					o = o.Without(pairs[i])
				} else {
					o = o.With(pairs[i], pairs[i+1])
				}
			}
			return o
		}
	}
	for _, x := range []struct {
		name           string
		p              profile
		header, claims edit
		strict, loose  error
	}{
		{"as RFC 9068", profile{ClientClaim: "azp"}, same, same, nil, nil},

		// The type.
		{"typ JWT", profile{Types: []string{"JWT"}}, typ(`"JWT"`), same, token.ErrType, nil},
		{"typ jwt", profile{Types: []string{"JWT"}}, typ(`"jwt"`), same, token.ErrType, nil},
		{"typ application/jwt", profile{Types: []string{"JWT"}}, typ(`"application/jwt"`), same, token.ErrType, nil},
		{"typ at+jwt where JWT is wanted", profile{Types: []string{"JWT"}}, same, same, nil, token.ErrType},
		{"typ either", profile{Types: []string{"JWT", "at+jwt"}}, same, same, nil, nil},
		{"no typ", profile{Types: []string{""}}, with("typ", ""), same, token.ErrType, nil},
		{"no typ where JWT is wanted", profile{Types: []string{"JWT"}}, with("typ", ""), same, token.ErrType, token.ErrType},
		{"typ JWT where none is wanted", profile{Types: []string{""}}, typ(`"JWT"`), same, token.ErrType, token.ErrType},
		{"typ empty is not none", profile{Types: []string{""}}, typ(`""`), same, token.ErrType, token.ErrType},
		{"typ a number is not none", profile{Types: []string{""}}, typ(`1`), same, token.ErrType, token.ErrType},
		{"typ null is not none", profile{Types: []string{""}}, typ(`null`), same, token.ErrType, token.ErrType},
		{"typ logout+jwt", profile{Types: []string{"JWT", ""}}, typ(`"logout+jwt"`), same, token.ErrType, token.ErrType},

		// What may be missing, and that one thing must be revocable.
		{"no client_id", profile{Optional: []string{"client_id"}}, same, with("client_id", ""), token.ErrClaims, nil},
		{"no jti", profile{Optional: []string{"jti"}}, same, with("jti", ""), token.ErrClaims, nil},
		{"no sub", profile{Optional: []string{"sub"}}, same, with("sub", ""), token.ErrClaims, nil},
		{"no jti where sub may be missing", profile{Optional: []string{"sub"}}, same, with("jti", ""), token.ErrClaims, token.ErrClaims},
		{"no jti, no sub", profile{Optional: []string{"jti", "sub"}}, same, with("jti", "", "sub", ""), token.ErrClaims, nil},
		{"no jti, no sid", profile{Optional: []string{"jti", "sub"}}, same, with("jti", "", "sid", ""), token.ErrClaims, nil},
		{"no sub, no sid", profile{Optional: []string{"jti", "sub"}}, same, with("sub", "", "sid", ""), token.ErrClaims, nil},
		{"nothing to revoke", profile{Optional: []string{"jti", "sub"}}, same, with("jti", "", "sub", "", "sid", ""), token.ErrClaims, token.ErrClaims},
		{"jti empty is not missing", profile{Optional: []string{"jti"}}, same, with("jti", `""`), token.ErrClaims, token.ErrClaims},
		{"jti null is not missing", profile{Optional: []string{"jti"}}, same, with("jti", `null`), token.ErrClaims, token.ErrClaims},
		{"no exp", profile{Optional: []string{"jti", "sub", "client_id"}}, same, with("exp", ""), token.ErrClaims, token.ErrClaims},
		{"no iat", profile{Optional: []string{"jti", "sub", "client_id"}}, same, with("iat", ""), token.ErrClaims, token.ErrClaims},

		// aud.
		{"no aud", profile{ClientClaim: "azp"}, same, with("aud", ""), token.ErrClaims, token.ErrClaims},
		{"client_id for aud", profile{AudienceClaim: "client_id"}, same, with("aud", "", "client_id", `"orders"`), token.ErrClaims, nil},
		{"client_id for aud, another's", profile{AudienceClaim: "client_id"}, same, with("aud", "", "client_id", `"other"`), token.ErrClaims, token.ErrAudience},
		{"aud wins", profile{AudienceClaim: "client_id"}, same, with("aud", `"other"`, "client_id", `"orders"`), token.ErrAudience, token.ErrAudience},
		{"aud empty wins", profile{AudienceClaim: "client_id"}, same, with("aud", `[]`, "client_id", `"orders"`), token.ErrAudience, token.ErrAudience},
		{"resource for aud", profile{AudienceClaim: "resource"}, same, with("aud", "", "resource", `["a","orders"]`), token.ErrClaims, nil},
		{"resource for aud, of numbers", profile{AudienceClaim: "resource"}, same, with("aud", "", "resource", `[1]`), token.ErrClaims, token.ErrClaims},

		// Other names.
		{"azp", profile{ClientClaim: "azp"}, same, with("client_id", "", "azp", `"a"`), token.ErrClaims, nil},
		{"azp, a number", profile{ClientClaim: "azp"}, same, with("client_id", "", "azp", `7`), token.ErrClaims, token.ErrClaims},
		{"azp, too long", profile{ClientClaim: "azp"}, same, with("client_id", "", "azp", `"`+strings.Repeat("a", 513)+`"`), token.ErrClaims, token.ErrClaims},
		{"cid where azp is wanted", profile{ClientClaim: "azp"}, same, with("client_id", "", "cid", `"a"`), token.ErrClaims, token.ErrClaims},
		{"uti", profile{IDClaim: "uti"}, same, with("jti", "", "uti", `"u"`), token.ErrClaims, nil},
		{"azp of any form beside client_id", profile{ClientClaim: "azp"}, same, with("azp", `7`), nil, nil},
		{"azp null beside client_id", profile{ClientClaim: "azp"}, same, with("azp", `null`), nil, nil},
		{"azp null", profile{ClientClaim: "azp"}, same, with("client_id", "", "azp", `null`), token.ErrClaims, token.ErrClaims},
		{"resource of any form beside aud", profile{AudienceClaim: "resource"}, same, with("resource", `{}`), nil, nil},
		{"origin_jti of any form beside sid", profile{SessionClaim: "origin_jti"}, same, with("origin_jti", `[1]`), nil, nil},
		{"origin_jti null for sid", profile{SessionClaim: "origin_jti"}, same, with("sid", "", "origin_jti", `null`), nil, nil},
		{"origin_jti a number for sid", profile{SessionClaim: "origin_jti"}, same, with("sid", "", "origin_jti", `1`), nil, token.ErrClaims},
		{"scp null", profile{ScopeClaim: "scp"}, same, with("scope", "", "scp", `null`), nil, nil},
		{"uti empty", profile{IDClaim: "uti"}, same, with("jti", "", "uti", `""`), token.ErrClaims, token.ErrClaims},
		{"a claim without name stands in for none", profile{ClientClaim: "azp"}, same, with("", `"x"`, "jti", ""), token.ErrClaims, token.ErrClaims},
		{"scope an array", profile{ScopeClaim: "scope"}, same, with("scope", `["orders:read"]`), nil, nil},
		{"scope an array nobody asked for", profile{ScopeClaim: "scp"}, same, with("scope", `["orders:read"]`), nil, nil},
		{"scope an array of sentences", profile{ScopeClaim: "scope"}, same, with("scope", `["orders:read orders:write"]`), nil, token.ErrClaims},
		{"scp an array of numbers", profile{ScopeClaim: "scp"}, same, with("scope", "", "scp", `[1]`), nil, token.ErrClaims},

		// What tells kinds apart.
		{"required", profile{Require: map[string][]string{"token_use": {"access", "a"}}}, same, with("token_use", `"access"`), nil, nil},
		{"required, missing", profile{Require: map[string][]string{"token_use": {"access"}}}, same, same, nil, token.ErrClaims},
		{"required, another", profile{Require: map[string][]string{"token_use": {"access"}}}, same, with("token_use", `"id"`), nil, token.ErrClaims},
		{"required, an array", profile{Require: map[string][]string{"token_use": {"access"}}}, same, with("token_use", `["access"]`), nil, token.ErrClaims},
		{"required, null", profile{Require: map[string][]string{"token_use": {""}}}, same, with("token_use", `null`), nil, token.ErrClaims},
		{"two required, one there", profile{Require: map[string][]string{"a": {"1"}, "b": {"1"}}}, same, with("a", `"1"`), nil, token.ErrClaims},
		{"refused", profile{Refuse: []string{"at_hash"}}, same, with("at_hash", `"x"`), nil, token.ErrClaims},
		{"refused, null", profile{Refuse: []string{"at_hash"}}, same, with("at_hash", `null`), nil, token.ErrClaims},

		// What no Profile loosens.
		{"duplicate", profile{ClientClaim: "azp"}, same, func(o forge.Object) forge.Object { return o.Without("client_id").Plus("azp", `"a"`).Plus("azp", `"b"`) }, token.ErrMalformed, token.ErrMalformed},
		{"expired", profile{Types: []string{"at+jwt"}}, same, with("iat", "1", "nbf", "1", "exp", "100"), token.ErrExpired, token.ErrExpired},
		{"lives too long", profile{Types: []string{"at+jwt"}}, same, with("exp", "4102444800"), token.ErrLifetime, token.ErrLifetime},
		{"of another issuer", profile{Types: []string{"at+jwt"}}, same, with("iss", `"x"`), token.ErrIssuer, token.ErrIssuer},
	} {
		raw := ed.Forge(x.header(ed.Header()), x.claims(forge.Claims(time.Now())))
		for what, v := range map[string]struct {
			p    profile
			want error
		}{"strict": {profile{}, x.strict}, "loose": {x.p, x.loose}} {
			verifier := forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.Profile = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), v.p
			})
			claims, err := verifier.Verify(t.Context(), raw)
			if !errors.Is(err, v.want) || (claims == nil) == (err == nil) {
				t.Errorf("%s, %s: error %v, want %v", x.name, what, err, v.want)
			}
			if err != nil && forge.Leaks(err.Error(), raw) != "" {
				t.Errorf("%s: error %q repeats the token (invariant 10)", x.name, err)
			}
		}
	}
}

// What stands in is what the accessors return and what the denylist knows.
func TestProfileClaims(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.TenantClaim = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), "tid"
		c.Revocations, c.InsecureNoRevocations = list, false
		c.Profile = token.Profile{
			Optional: []string{"jti"}, ClientClaim: "azp", IDClaim: "uti", SessionClaim: "origin_jti", ScopeClaim: "scp", AudienceClaim: "client_id",
		}
	})
	now := time.Now()
	base := forge.Claims(now).Without("client_id").Without("jti").Without("sid").Without("scope").Without("tenant").
		With("azp", `"app"`).With("uti", `"u-1"`).With("origin_jti", `"o-1"`).With("scp", `["a","b"]`).With("tid", `"t-1"`)
	verify := func(o forge.Object) (*token.Claims, error) { return v.Verify(t.Context(), ed.Forge(ed.Header(), o)) }
	c, err := verify(base)
	if err != nil {
		t.Fatal(err)
	}
	if c.ClientID() != "app" || c.ID() != "u-1" || c.SessionID() != "o-1" || c.Tenant() != "t-1" || !c.HasScope("b") || len(c.Scopes()) != 2 {
		t.Errorf("claims %+v, scopes %v", c.Identity(), c.Scopes())
	}
	// The registered ones win.
	both, err := verify(base.With("client_id", `"c"`).With("jti", `"j"`).With("sid", `"s"`).With("scope", `"x"`))
	if err != nil || both.ClientID() != "c" || both.ID() != "j" || both.SessionID() != "s" || !both.HasScope("x") || both.HasScope("a") {
		t.Errorf("claims %v, error %v", both, err)
	}
	// Without any jti the token is accepted, and cannot be revoked alone: but its
	// session, user and client can.
	anonymous := base.Without("uti")
	c, err = verify(anonymous)
	if err != nil || c.ID() != "" {
		t.Fatalf("claims %v, error %v", c, err)
	}
	if _, err := revoke.TokenOf(c.Identity()); err == nil {
		t.Error("an event for a token without jti")
	}
	for _, e := range []revoke.Event{
		{Kind: revoke.KindSession, Value: "o-1"}, {Kind: revoke.KindClient, Value: "app"}, {Kind: revoke.KindTenant, Value: "t-1"}, {Kind: revoke.KindToken, Value: "u-1"},
	} {
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.TenantClaim = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), "tid"
			c.Revocations, c.InsecureNoRevocations = list, false
			c.Profile = token.Profile{Optional: []string{"jti"}, ClientClaim: "azp", IDClaim: "uti", SessionClaim: "origin_jti", ScopeClaim: "scp"}
		})
		e.Issuer = forge.Issuer
		forge.Apply(t, list, e)
		if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), base)); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%v: error %v", e.Kind, err)
		}
		_, err := v.Verify(t.Context(), ed.Forge(ed.Header(), anonymous))
		if revoked := errors.Is(err, revoke.ErrRevoked); revoked != (e.Kind != revoke.KindToken) {
			t.Errorf("%v, no jti: error %v", e.Kind, err)
		}
	}
}

// A token without iat counts as issued in 1970, where that is allowed at all.
func TestProfileWithoutIssuedAt(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.MaxLifetime = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), 0
		c.Profile.Optional = []string{"iat"}
	})
	claims := forge.Claims(time.Now())
	c, err := v.Verify(t.Context(), ed.Forge(ed.Header(), claims.Without("iat")))
	if err != nil || !c.IssuedAt().IsZero() {
		t.Errorf("claims %v, error %v", c, err)
	}
	if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), claims.With("iat", `null`))); !errors.Is(err, token.ErrClaims) {
		t.Errorf("iat null: error %v", err)
	}
	if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), claims.With("iat", `4000000000`))); !errors.Is(err, token.ErrNotYetValid) {
		t.Errorf("iat in the future: error %v", err)
	}
}

func TestProfileRefused(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	type profile = token.Profile
	for _, x := range []struct {
		field     string
		bad, twin profile
	}{
		{"Types", profile{Types: []string{}}, profile{Types: []string{""}}},
		{"Types", profile{Types: []string{"JWT", "Logout+JWT"}}, profile{Types: []string{"JWT", "x+jwt"}}},
		{"Types", profile{Types: []string{"application/secevent+jwt"}}, profile{Types: []string{"application/at+jwt"}}},
		{"Optional", profile{Optional: []string{"exp"}}, profile{Optional: []string{"sub"}}},
		{"Optional", profile{Optional: []string{"aud"}}, profile{Optional: []string{"client_id", "jti"}}},
		{"Optional", profile{Optional: []string{"iat"}}, profile{}},
		{"AudienceClaim", profile{AudienceClaim: "sub"}, profile{AudienceClaim: "client_id"}},
		{"ClientClaim", profile{ClientClaim: "sub"}, profile{ClientClaim: "azp"}},
		{"IDClaim", profile{IDClaim: "sid"}, profile{IDClaim: "uti"}},
		{"SessionClaim", profile{SessionClaim: "jti"}, profile{SessionClaim: "origin_jti"}},
		{"ScopeClaim", profile{ScopeClaim: "aud"}, profile{ScopeClaim: "scope"}},
		{"Require", profile{Require: map[string][]string{"a": nil}}, profile{Require: map[string][]string{"a": {""}}}},
		{"Refuse", profile{Require: map[string][]string{"a": {"b"}}, Refuse: []string{"a"}}, profile{Refuse: []string{"a"}}},
	} {
		cfg := token.VerifierConfig{
			Issuer: forge.Issuer, Audiences: []string{"a"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: forge.StaticKeys(t, ed),
			Revocations: forge.LocalList(t, revoke.Config{}), Profile: x.bad,
		}
		if v, err := token.NewVerifier(cfg); v != nil || err == nil || !strings.Contains(err.Error(), "Profile."+x.field+" ") {
			t.Errorf("%s: error %v", x.field, err)
		}
		cfg.Profile = x.twin
		if _, err := token.NewVerifier(cfg); err != nil {
			t.Errorf("%s: the good twin is refused: %v", x.field, err)
		}
	}
}

// No kind of token passes for an access token, neither at a strict verifier nor
// at one that takes JWT, no typ and at+jwt alike.
func TestOtherKindsAtLooseVerifiers(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for _, types := range [][]string{nil, {"JWT", "", "at+jwt"}, {"application/JWT"}} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Profile.Types = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), types
		})
		for _, typ := range []string{
			"secevent+jwt", "logout+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", "refresh+jwt", "rt+jwt", "id+jwt", "jwt+at", "at+jwt ", "JW", "JOSE", "application/", "application/logout+jwt",
		} {
			raw := ed.Forge(ed.Header().With("typ", strconv.Quote(typ)), forge.Claims(time.Now()))
			if _, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrType) {
				t.Errorf("types %q: typ %q: error %v", types, typ, err)
			}
		}
		good := "at+jwt"
		if len(types) == 1 {
			good = "JWT"
		}
		if _, err := v.Verify(t.Context(), ed.Forge(ed.Header().With("typ", strconv.Quote(good)), forge.Claims(time.Now()))); err != nil {
			t.Errorf("types %q: the good twin: %v", types, err)
		}
	}
}

// Nothing in a header makes us fetch from anywhere but the issuer's, and
// a kid is a name to look up and nothing else.
func TestHeaderNeverChoosesKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, private, _ := ed25519.GenerateKey(rand.Reader)
		own, attacker := forge.Ed(t, "k", forge.Keys().Ed), forge.Ed(t, "k", private)
		w := new(forge.Web)
		w.Set(jwksURL, forge.KeysAt(t, "k"))
		w.Set("https://evil.example.com/jwks", forge.JSON(forge.JWKS(forge.JWK(t, private.Public()).With("kid", `"k"`))))
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: w})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		v := forge.Verifier(t, func(c *token.VerifierConfig) { c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, keys })
		claims := forge.Claims(time.Now())
		for _, name := range []string{"jku", "x5u"} {
			header := own.Header().With(name, `"https://evil.example.com/jwks"`)
			if _, err := v.Verify(t.Context(), attacker.Forge(header, claims)); !errors.Is(err, token.ErrSignature) {
				t.Errorf("%s: error %v", name, err)
			}
			if _, err := v.Verify(t.Context(), own.Forge(header, claims)); err != nil {
				t.Errorf("%s, the good twin: %v", name, err)
			}
		}
		for _, kid := range []string{"../../etc/passwd", "k' OR '1'='1", "https://evil.example.com/jwks", "k\\u0000", "k ", "K", "\\u212a", strings.Repeat("k", 512)} {
			if _, err := v.Verify(t.Context(), own.Forge(own.Header().With("kid", `"`+kid+`"`), claims)); !errors.Is(err, token.ErrUnknownKey) {
				t.Errorf("kid %s: error %v", kid, err)
			}
			time.Sleep(time.Minute)
		}
		for _, u := range w.Asked() {
			if u != jwksURL {
				t.Errorf("asked for %s", u)
			}
		}
	})
}
