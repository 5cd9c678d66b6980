package token_test

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// claimForgeries are rightly signed tokens whose claims must be refused.
func (s *forgeSet) claimForgeries() []forgery {
	sign := func(claims fmt.Stringer) string { return s.ed.Forge(s.ed.Header(), claims) }
	base := s.claims()
	good := sign(base)
	set := func(name, raw string) string { return sign(base.With(name, raw)) }
	without := func(name string) string { return sign(base.Without(name)) }
	at := func(d time.Duration) string {
		ms := s.now.Add(d).UnixMilli()
		return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }

	malformed, claims := token.ErrMalformed, token.ErrClaims
	all := []forgery{
		// Form.
		{"sub twice", sign(base.Plus("sub", `"admin"`)), good, malformed},
		{"sub twice, the same", sign(base.Plus("sub", `"sub-secret-0001"`)), good, malformed},
		{"sub twice, once escaped", sign(forge.Text(strings.TrimSuffix(base.String(), "}") + `,"\u0073ub":"admin"}`)), good, malformed},
		{"custom claim twice", sign(base.Plus("x", "1").Plus("x", "2")), set("x", "1"), malformed},
		{"duplicate deep inside", set("x", `[{"a":{"b":1,"b":1}}]`), set("x", `[{"a":{"b":1}},{"a":{"b":1}}]`), malformed},
		{"JSON after the claims", sign(forge.Text(base.String() + `{"sub":"admin"}`)), good, malformed},
		{"a comma after the claims", sign(forge.Text(base.String() + ",")), good, malformed},
		{"not UTF-8 in a value", sign(base.With("x", "\"\xff\"")), set("x", `"ÿ"`), malformed},
		{"not UTF-8 in a name", sign(forge.Text(strings.TrimSuffix(base.String(), "}") + ",\"\xff\":1}")), good, malformed},
		{"overlong UTF-8", sign(base.With("x", "\"\xc0\xaf\"")), good, malformed},
		{"half a surrogate", set("x", `"\ud800"`), set("x", `"\ud83d\ude00"`), malformed},
		{"byte order mark", sign(forge.Text("\ufeff" + base.String())), good, malformed},
		{"array", sign(forge.Text("[" + base.String() + "]")), good, malformed},
		{"string", sign(forge.Text(`"sub"`)), good, malformed},
		{"null", sign(forge.Text("null")), good, malformed},
		{"not JSON", sign(forge.Text("Example of Ed25519 signing")), good, malformed},
		{"ends early", sign(forge.Text(strings.TrimSuffix(base.String(), "}"))), good, malformed},
		{"comment", sign(forge.Text(base.String() + "//")), good, malformed},
		{"NaN", set("x", "NaN"), set("x", "null"), malformed},
		{"leading zero", set("exp", "01"), good, malformed},
		{"plus sign", set("exp", "+1"), good, malformed},
		{"control character", set("x", "\"\x01\""), set("x", `"\u0001"`), malformed},
		{"60 nested arrays, unclosed", set("x", strings.Repeat("[", 60)), set("x", strings.Repeat("[", 60)+strings.Repeat("]", 60)), malformed},
		{"100,000 nested arrays (CVE-2025-53864)", set("x", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), good, token.ErrTooLarge},

		// Issuer.
		{"iss with a trailing slash", set("iss", `"https://auth.example.com/"`), good, token.ErrIssuer},
		{"iss in another case", set("iss", `"https://AUTH.example.com"`), good, token.ErrIssuer},
		{"iss a part of ours (CVE-2024-53861)", set("iss", `"https://auth.example"`), good, token.ErrIssuer},
		{"iss longer than ours", set("iss", `"https://auth.example.com.attacker.example"`), good, token.ErrIssuer},
		{"iss another's (CVE-2024-5037, CVE-2026-22748)", set("iss", `"https://other.example.com"`), good, token.ErrIssuer},
		{"iss empty", set("iss", `""`), good, token.ErrIssuer},
		{"iss null", set("iss", `null`), good, token.ErrIssuer},
		{"iss an array", set("iss", `["https://auth.example.com"]`), good, token.ErrIssuer},
		{"iss a number", set("iss", `1`), good, token.ErrIssuer},
		{"iss Iss", sign(base.Without("iss").With("Iss", strconv.Quote(forge.Issuer))), good, claims},

		// Audience (CVE-2020-26160, CVE-2024-5798).
		{"aud another's (CVE-2026-30223, CVE-2026-55669)", set("aud", `"payments"`), good, token.ErrAudience},
		{"aud others'", set("aud", `["payments","billing"]`), set("aud", `["payments","orders"]`), token.ErrAudience},
		{"aud an empty array", set("aud", `[]`), set("aud", `["orders"]`), token.ErrAudience},
		{"aud empty", set("aud", `""`), good, token.ErrAudience},
		{"aud an array of the empty string", set("aud", `[""]`), good, token.ErrAudience},
		{"aud in another case", set("aud", `"Orders"`), good, token.ErrAudience},
		{"aud a prefix", set("aud", `"order"`), good, token.ErrAudience},
		{"aud longer", set("aud", `["orders2","orders "]`), good, token.ErrAudience},
		{"aud a list in a string", set("aud", `"payments orders"`), good, token.ErrAudience},
		{"aud a wildcard", set("aud", `"*"`), good, token.ErrAudience},
		{"aud null", set("aud", `null`), good, claims},
		{"aud a number", set("aud", `1`), good, claims},
		{"aud an object", set("aud", `{"orders":true}`), good, claims},
		{"aud with a number beside ours", set("aud", `["orders",1]`), good, claims},
		{"aud nested", set("aud", `[["orders"]]`), good, claims},

		// Times (CVE-2026-44459, GHSA-wxg7-w2v3-w38g). The verifier's leeway is a minute.
		{"exp zero", set("exp", "0"), good, token.ErrExpired},
		{"exp minus one", set("exp", "-1"), good, token.ErrExpired},
		{"exp -0", set("exp", "-0"), good, token.ErrExpired},
		{"exp a minute ago", sign(base.With("iat", at(-time.Hour/2)).With("exp", at(-time.Minute))), sign(base.With("iat", at(-time.Hour/2)).With("exp", at(-time.Minute+time.Millisecond))), token.ErrExpired},
		{"exp rounded down to a minute ago", sign(base.With("iat", at(-time.Hour/2)).With("exp", at(-time.Minute)+"9")), sign(base.With("iat", at(-time.Hour/2)).With("exp", at(-time.Minute+time.Millisecond)+"9")), token.ErrExpired},
		{"nbf beyond the leeway", set("nbf", at(time.Minute+time.Millisecond)), set("nbf", at(time.Minute)), token.ErrNotYetValid},
		{"nbf 61 s ahead", set("nbf", at(61*time.Second)), set("nbf", at(60*time.Second)), token.ErrNotYetValid},
		{"iat beyond the leeway", set("iat", at(time.Minute+time.Millisecond)), set("iat", at(time.Minute)), token.ErrNotYetValid},
		{"iat and nbf in the future", sign(base.With("iat", at(time.Hour)).With("nbf", at(time.Hour)).With("exp", at(2*time.Hour))), good, token.ErrNotYetValid},
		{"exp = iat", sign(base.With("iat", at(0)).With("exp", at(0))), sign(base.With("iat", at(0)).With("exp", at(time.Millisecond))), claims},
		{"exp before iat", sign(base.With("iat", at(30*time.Second)).With("exp", at(10*time.Second))), good, claims},
		{"lives a millisecond too long", sign(base.With("iat", at(0)).With("exp", at(time.Hour+time.Millisecond))), sign(base.With("iat", at(0)).With("exp", at(time.Hour))), token.ErrLifetime},
		{"lives for ever", set("exp", "253402300799"), good, token.ErrLifetime},
		{"exp with an exponent, past", set("exp", "1e1"), set("exp", strconv.FormatInt(s.now.Unix()+600, 10)+"0e-1"), token.ErrExpired},

		// Sender constraint.
		{"cnf.jkt", set("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`), good, token.ErrBinding},
		{"cnf.x5t#S256", set("cnf", `{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`), good, token.ErrBinding},
		{"cnf null", set("cnf", `null`), good, token.ErrBinding},
	}
	for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		all = append(all, forgery{name + " missing", without(name), good, claims})
	}
	// What is not required is judged where something asks for it, see TestAskedClaims.
	for _, name := range []string{"sub", "client_id", "jti"} {
		for what, raw := range map[string]string{"empty": `""`, "a number": `17`, "null": `null`, "true": `true`, "an array": `["a"]`, "an object": `{}`, "of 513 bytes": long(revoke.MaxValueBytes + 1)} {
			all = append(all, forgery{name + " " + what, set(name, raw), set(name, long(revoke.MaxValueBytes)), claims})
		}
	}
	for _, name := range []string{"exp", "iat", "nbf"} {
		for _, raw := range []string{`"946684900"`, `"x"`, `""`, "null", "true", "false", "[]", "[946684900]", "{}", "1e400", "-1e400", "1e300", "1e99999999999999999999", "253402300800", "946684900000", "-253402300800"} {
			all = append(all, forgery{name + " " + raw, set(name, raw), good, claims})
		}
	}
	return all
}

// Invariants 7 and 10. Boundaries are exact: time stands still in the bubble.
func TestClaimsRefuse(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		s := newForgeSet(t)
		time.Sleep(123 * time.Millisecond) // the fake clock's: off the whole second
		s.now = time.Now()
		for _, f := range s.claimForgeries() {
			checkForgery(t, s, f)
		}
	})
}

func TestDeepNesting(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.MaxTokenBytes = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), 64<<10
	})
	nested := func(n int) string {
		return ed.Forge(ed.Header(), forge.Claims(time.Now()).With("x", strings.Repeat("[", n)+strings.Repeat("]", n)))
	}
	if _, err := v.Verify(t.Context(), nested(63)); err != nil {
		t.Errorf("64 levels refused: %v", err)
	}
	for _, n := range []int{64, 1000, 20_000} {
		if _, err := v.Verify(t.Context(), nested(n)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%d levels and one: error %v", n, err)
		}
	}
}

func verifiedClaims(t *testing.T, change func(forge.Object) forge.Object) (*token.Claims, string) {
	t.Helper()
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), change(forge.Claims(time.Now())))
	claims, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := ed.Key.Thumbprint(); claims.Identity().Key != want {
		t.Errorf("Identity().Key = %q, want %q", claims.Identity().Key, want)
	}
	return claims, raw
}

func TestClaimsAccessors(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	seconds := func(t time.Time) string { return fmt.Sprintf("%d.%03d", t.Unix(), t.UnixMilli()%1000) }
	c, _ := verifiedClaims(t, func(o forge.Object) forge.Object {
		return o.With("aud", `["payments","orders"]`).
			With("iat", seconds(now)).With("nbf", seconds(now)).With("exp", seconds(now.Add(time.Minute))).
			With("auth_time", "1700000000.1239").With("acr", `"urn:mfa"`).With("amr", `["pwd","otp"]`).
			With("scope", `" orders:read  orders:write "`).
			With("sub", `"na\u00efve\/\ud83d\ude00"`)
	})
	for _, x := range []struct {
		name      string
		got, want any
	}{
		{"Issuer", c.Issuer(), forge.Issuer},
		{"Subject", c.Subject(), "naïve/😀"},
		{"Audience", c.Audience(), []string{"payments", "orders"}},
		{"ID", c.ID(), "jti-secret-0003"},
		{"ClientID", c.ClientID(), "client-secret-0002"},
		{"SessionID", c.SessionID(), "sid-secret-0004"},
		{"Tenant", c.Tenant(), "tenant-secret-0005"},
		{"IssuedAt", c.IssuedAt().UnixMilli(), now.UnixMilli()},
		{"NotBefore", c.NotBefore().UnixMilli(), now.UnixMilli()},
		{"ExpiresAt", c.ExpiresAt().UnixMilli(), now.Add(time.Minute).UnixMilli()},
		{"AuthTime", c.AuthTime().UnixMilli(), int64(1700000000123)},
		{"ACR", c.ACR(), "urn:mfa"},
		{"AMR", c.AMR(), []string{"pwd", "otp"}},
		{"Scopes", c.Scopes(), []string{"orders:read", "orders:write"}},
		{"HasScope", c.HasScope("orders:read"), true},
		{"HasScope of a prefix", c.HasScope("orders"), false},
		{"HasScope of nothing", c.HasScope(""), false},
		{"Identity", c.Identity(), revoke.Identity{
			Issuer: forge.Issuer, Token: "jti-secret-0003", Session: "sid-secret-0004", Subject: "naïve/😀", Client: "client-secret-0002",
			Tenant: "tenant-secret-0005", Key: c.Identity().Key, IssuedAt: c.IssuedAt(), ExpiresAt: c.ExpiresAt()}},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s = %v, want %v", x.name, x.got, x.want)
		}
	}
}

func TestClaimsOptionalAbsent(t *testing.T) {
	c, _ := verifiedClaims(t, func(o forge.Object) forge.Object {
		return o.Without("sid").Without("tenant").Without("nbf").Without("scope")
	})
	if c.SessionID() != "" || c.Tenant() != "" || !c.NotBefore().IsZero() || !c.AuthTime().IsZero() || c.Scopes() != nil || c.AMR() != nil || c.ACR() != "" {
		t.Errorf("absent claims are not zero: %+v", c.Identity())
	}
}

func TestClaimsAreImmutable(t *testing.T) {
	c, _ := verifiedClaims(t, func(o forge.Object) forge.Object { return o.With("amr", `["pwd"]`).With("x", `"abc"`) })
	c.Audience()[0], c.Scopes()[0], c.AMR()[0] = "evil", "evil", "evil"
	raw, _ := c.Claim("x")
	copy(raw, `"evi"`)
	if slices.Contains(c.Audience(), "evil") || c.HasScope("evil") || slices.Contains(c.AMR(), "evil") {
		t.Error("a caller changed the claims")
	}
	if raw, ok := c.Claim("x"); !ok || string(raw) != `"abc"` {
		t.Errorf("Claim(x) = %s, %v", raw, ok)
	}
}

func TestClaimAndDecode(t *testing.T) {
	c, _ := verifiedClaims(t, func(o forge.Object) forge.Object {
		return o.With("roles", `["a","b"]`).With("Role", `1`).With("null", `null`).With(`quo"te`, `{"deep":[1]}`)
	})
	for name, want := range map[string]string{"roles": `["a","b"]`, "null": "null", `quo"te`: `{"deep":[1]}`, "jti": `"jti-secret-0003"`} {
		if raw, ok := c.Claim(name); !ok || string(raw) != want {
			t.Errorf("Claim(%q) = %s, %v", name, raw, ok)
		}
	}
	for _, name := range []string{"role", "ROLES", "deep", ""} {
		if raw, ok := c.Claim(name); ok || raw != nil {
			t.Errorf("Claim(%q) = %s, %v", name, raw, ok)
		}
	}
	var mine struct {
		Roles []string `json:"roles"`
		Sub   string   `json:"sub"`
	}
	if err := c.Decode(&mine); err != nil || !slices.Equal(mine.Roles, []string{"a", "b"}) || mine.Sub != "sub-secret-0001" {
		t.Errorf("Decode: %+v, %v", mine, err)
	}
	var wrong struct {
		Sub int `json:"sub"`
	}
	err := c.Decode(&wrong)
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Decode into the wrong type: %v", err)
	}
	var small struct {
		N int8 `json:"n"`
	}
	c, _ = verifiedClaims(t, func(o forge.Object) forge.Object { return o.With("n", "31415926") })
	if err := c.Decode(&small); err == nil || strings.Contains(err.Error(), "31415926") {
		t.Errorf("Decode into a small number: %v", err)
	}
	// What a type's own decoder says of its input stays here.
	var when struct {
		Sub time.Time `json:"sub"`
	}
	if err := c.Decode(&when); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Decode into a time: %v", err)
	}
	var quoted struct {
		Sub int `json:"sub,string"`
	}
	if err := c.Decode(&quoted); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Decode into a quoted number: %v", err)
	}
	if err := c.Decode(nil); err == nil {
		t.Error("Decode(nil) succeeded")
	}
}

// Invariant 10.
func TestClaimsPrintNoToken(t *testing.T) {
	c, raw := verifiedClaims(t, func(o forge.Object) forge.Object { return o })
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("seen", "claims", c)
	for _, s := range []string{c.String(), c.GoString(), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), logged.String()} {
		if !strings.Contains(s, "jti-secret-0003") {
			t.Errorf("%q does not name the token", s)
		}
		for _, part := range append(strings.Split(raw, "."), "sid-secret-0004", "client-secret-0002") {
			if strings.Contains(s, part) {
				t.Errorf("%q contains %q", s, part)
			}
		}
	}
}
