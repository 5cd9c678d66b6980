package token

import (
	"cmp"
	"errors"
	"strings"
	"testing"
)

// FuzzForeignClaims: what a Profile accepts, encoding/json reads alike: registered
// claims before those that stand in, all that is required, nothing that is refused,
// and one thing at least that a revocation can name.
func FuzzForeignClaims(f *testing.F) {
	p := &Profile{
		Optional: []string{"client_id", "jti", "sub"}, AudienceClaim: "client_id", ClientClaim: "azp", IDClaim: "uti", SessionClaim: "origin_jti", ScopeClaim: "scp",
		Require: map[string][]string{"token_use": {"access"}}, Refuse: []string{"nonce"},
	}
	const good = `{"iss":"i","sub":"s","client_id":"c","origin_jti":"o","uti":"u","azp":"a","token_use":"access","scp":["a","b"],"iat":1,"exp":2,"tid":"t"}`
	f.Add([]byte(good))
	for _, change := range []string{`"nonce":1`, `"aud":["x"]`, `"jti":"j"`, `"sid":"d"`, `"scope":"x y"`, `"":"x"`, `"azp":7`, `"scp":"a b"`, `"token_use":null`, `"\u0061zp":"b"`} {
		f.Add([]byte(strings.TrimSuffix(good, "}") + "," + change + "}"))
		f.Add([]byte(`{"iss":"i","aud":"a","token_use":"access","iat":1,"exp":2,` + change + `}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeProfile(data, "tid", p, true)
		if err != nil {
			if c != nil || !errors.Is(err, ErrInvalidToken) {
				t.Fatalf("claims %v, error %v", c, err)
			}
			inFamily(t, err, string(data))
			return
		}
		plain := plainObject(t, data)
		for _, x := range []struct{ got, name, standIn string }{
			{c.ClientID(), "client_id", "azp"}, {c.ID(), "jti", "uti"}, {c.SessionID(), "sid", "origin_jti"}, {c.Subject(), "sub", ""}, {c.Tenant(), "tid", ""},
		} {
			want := plainText(plain[x.name])
			if x.standIn != "" {
				want = cmp.Or(want, plainText(plain[x.standIn]))
			}
			if x.got != want {
				t.Fatalf("%s: read %q from %q", x.name, x.got, data)
			}
		}
		if _, ok := plain["aud"]; !ok && (len(c.audience) == 0 || c.audience[0] != plainText(plain["client_id"])) {
			if plain["client_id"][0] == '"' {
				t.Fatalf("audience %q from %q", c.audience, data)
			}
		}
		if _, ok := plain["nonce"]; ok || plainText(plain["token_use"]) != "access" || c.id == "" && c.session == "" && c.subject == "" {
			t.Fatalf("let through: %q", data)
		}
	})
}
