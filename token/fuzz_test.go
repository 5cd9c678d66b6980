package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// inFamily fails unless err is a refusal that repeats nothing of the input.
func inFamily(t *testing.T, err error, input string) {
	t.Helper()
	if !errors.Is(err, ErrInvalidToken) {
		t.Fatalf("error %v is not of the family", err)
	}
	for i := 0; i+24 <= len(input); i++ {
		if strings.Contains(err.Error(), input[i:i+24]) {
			t.Fatalf("error %q repeats the input (invariant 10)", err)
		}
	}
}

// FuzzGate: what passes has one spelling only, and a header that a plain reader
// understands in the same way.
func FuzzGate(f *testing.F) {
	const payload, signature = "eyJzdWIiOiJhIn0", "AAAA"
	for _, header := range []string{
		`{"alg":"EdDSA","typ":"at+jwt","kid":"k"}`,
		`{"typ":"JWT","alg":"none"}`,
		`{"alg":"HS256","alg":"none"}`,
		`{"alg":"ES256","crit":["b64"],"b64":false}`,
		`{"alg":1,"kid":null}`,
		"{\"alg\":\"\xff\"}",
		`{"alg":"EdDSA"}{}`,
		`{"\u0061lg":"EdDSA","jwk":{"kty":"OKP"},"kid":"\ud83d\ude00"}`,
	} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload + "." + signature)
	}
	for _, raw := range []string{"", ".", "..", "...", "A.A.A", "AA.AA.AA", "AB.AA.AA", "AA==.AA.AA", "A+A/.AA.AA", "AA\n.AA.AA", "{}"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := split(raw, shape.DefaultTokenBytes)
		if err != nil {
			inFamily(t, err, raw)
			return
		}
		enc := base64.RawURLEncoding
		if again := enc.EncodeToString(p.header) + "." + enc.EncodeToString(p.payload) + "." + enc.EncodeToString(p.signature); again != raw {
			t.Fatalf("%q is a second spelling of %q", raw, again)
		}
		if !strings.HasPrefix(raw, string(p.signed)+".") || strings.Count(string(p.signed), ".") != 1 {
			t.Fatalf("signed bytes %q are not those received", p.signed)
		}
		checkHeader(t, p.header)
	})
}

// FuzzHeader feeds the header decoder without base64 in its way.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{
		`{"alg":"EdDSA","typ":"at+jwt","kid":"k"}`, `{"alg":"none"}`, `{"alg":"a","alg":"b"}`, `{"Alg":"EdDSA"}`, `{}`, `[]`, `null`, ``,
		`{"alg":"EdDSA","crit":[]}`, `{"alg":"EdDSA","zip":"DEF"}`, `{"alg":"EdDSA","kid":""}`, `{"alg":"EdDSA","typ":{"a":[1,2,{"b":null}]}}`,
		`{"alg":"\ud800"}`, "\ufeff{}", `{"alg":"EdDSA"} `, ` {"alg":"EdDSA"}`, `{"alg":"EdDSA"}x`,
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkHeader(t, data) })
}

func checkHeader(t *testing.T, data []byte) {
	h, err := parseHeader(data)
	if err != nil {
		inFamily(t, err, string(data))
		return
	}
	plain := plainObject(t, data)
	if plainText(plain["alg"]) != string(h.alg) || plainText(plain["kid"]) != h.kid || plainText(plain["typ"]) != h.typ {
		t.Fatalf("%q read as %+v", data, h)
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, ok := plain[name]; ok {
			t.Fatalf("%q: %s let through", data, name)
		}
	}
	if _, ok := plain["kid"]; ok && (h.kid == "" || len(h.kid) > maxKeyIDBytes) {
		t.Fatalf("%q: kid let through", data)
	}
}

// FuzzClaims: what we accept, encoding/json accepts and reads alike; we are only
// stricter.
func FuzzClaims(f *testing.F) {
	const good = `{"iss":"i","aud":["a","b"],"sub":"s","jti":"j","client_id":"c","sid":"d","tenant":"t","iat":1700000000.123,"nbf":1e9,"exp":17e8,"scope":"a b","amr":["pwd"],"acr":"1","auth_time":-1}`
	f.Add([]byte(good))
	for _, change := range []string{
		`"sub":1`, `"sub":"a","sub":"b"`, `"exp":"1"`, `"exp":1e400`, `"exp":null`, `"aud":[]`, `"aud":[1]`, `"iss":null`, `"sub":""`, `"cnf":{"jkt":"x"}`, `"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I","x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"}`, `"cnf":{"jwk":{}}`,
		`"x":"\ud800"`, "\"x\":\"\xff\"", `"x":{"a":1,"a":1}`, `"x":[[[[{}]]]]`, `"\u0065xp":1`,
	} {
		f.Add([]byte(strings.TrimSuffix(good, "}") + "," + change + "}"))
		f.Add([]byte(`{"aud":"a","iss":"i","client_id":"c","jti":"j","iat":0,` + change + `}`))
	}
	for _, payload := range []string{"", "{}", "[]", "null", `{"iss":`, good + good, good + " ", "\ufeff" + good} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeClaims(data, "tenant")
		if err != nil {
			if c != nil {
				t.Fatal("claims beside an error")
			}
			inFamily(t, err, string(data))
			return
		}
		plain := plainObject(t, data)
		for name, got := range map[string]string{"iss": c.Issuer(), "sub": c.Subject(), "jti": c.ID(), "client_id": c.ClientID(), "sid": c.SessionID(), "tenant": c.Tenant(), "acr": c.ACR()} {
			if plainText(plain[name]) != got {
				t.Fatalf("%s: read %q from %q", name, got, data)
			}
			raw, ok := c.Claim(name)
			if _, there := plain[name]; ok != there || string(raw) != string(plain[name]) {
				t.Fatalf("Claim(%s) = %s from %q", name, raw, data)
			}
		}
		for name, got := range map[string]date{"exp": c.expires, "iat": c.issued, "nbf": c.notBefore, "auth_time": c.authTime} {
			if raw, there := plain[name]; there != got.set || there && plainText(raw) != "" {
				t.Fatalf("%s: read %+v from %q", name, got, data)
			}
		}
		for _, required := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
			if _, ok := plain[required]; !ok {
				t.Fatalf("%s is missing from %q", required, data)
			}
		}
		for _, v := range []string{c.subject, c.id, c.client} {
			if v == "" || len(v) > revoke.MaxValueBytes {
				t.Fatalf("%q could not be revoked", data)
			}
		}
		if raw, ok := plain["cnf"]; ok {
			cnf := plainObject(t, raw)
			if b := c.Binding(); b.IsZero() || b.KeyThumbprint != plainText(cnf["jkt"]) || b.CertificateThumbprint != plainText(cnf["x5t#S256"]) {
				t.Fatalf("cnf %q read as %+v", raw, b)
			}
		} else if !c.Binding().IsZero() {
			t.Fatal("bound by nothing")
		}
	})
}

func plainObject(t *testing.T, data []byte) map[string]json.RawMessage {
	t.Helper()
	var plain map[string]json.RawMessage
	if err := json.Unmarshal(data, &plain); err != nil || plain == nil {
		t.Fatalf("%q: encoding/json refuses what we accept: %v", data, err)
	}
	return plain
}

func plainText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// FuzzNumericDate compares with exact arithmetic on rationals.
func FuzzNumericDate(f *testing.F) {
	for _, n := range numericDates {
		f.Add(n.text)
	}
	number := regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?$`)
	limit := big.NewInt(shape.MaxSeconds * 1000)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 || !number.MatchString(text) {
			return
		}
		got, ok := floorMilli([]byte(text))
		exact, valid := new(big.Rat).SetString(text)
		if !valid {
			t.Skip()
		}
		exact.Mul(exact, big.NewRat(1000, 1))
		floor := new(big.Int).Div(exact.Num(), exact.Denom())
		whole := new(big.Int).Abs(new(big.Int).Quo(exact.Num(), exact.Denom()))
		if want := whole.Cmp(limit) <= 0; ok != want {
			t.Fatalf("%s: in range %v, want %v", text, ok, want)
		}
		if ok && floor.Cmp(big.NewInt(got)) != 0 {
			t.Fatalf("%s: %d ms, want %s", text, got, floor)
		}
	})
}

var numericDates = []struct {
	text string
	ms   int64
	ok   bool
}{
	{"0", 0, true}, {"-0", 0, true}, {"0.0", 0, true}, {"-0.0000", 0, true}, {"0e9", 0, true},
	{"1700000000", 1700000000000, true},
	{"1700000000.123", 1700000000123, true}, // its float64 lies below
	{"1700000000.1239999", 1700000000123, true},
	{"1700000000.9999999999999999999999", 1700000000999, true},
	{"1.7e9", 1700000000000, true}, {"17E+8", 1700000000000, true}, {"17000000000000e-4", 1700000000000, true},
	{"1.700000000123e9", 1700000000123, true}, {"0.00017e13", 1700000000000, true},
	{"0.001", 1, true}, {"0.0009", 0, true}, {"1e-3", 1, true}, {"1e-4", 0, true}, {"1e-9999", 0, true},
	{"-1", -1000, true}, {"-0.0001", -1, true}, {"-1.0005", -1001, true}, {"-1.001", -1001, true}, {"-1e-9999", -1, true},
	{"253402300799", 253402300799000, true}, {"253402300799.0009", 253402300799000, true}, {"-253402300799", -253402300799000, true},
	{"253402300799.001", 0, false}, {"253402300800", 0, false}, {"-253402300800", 0, false},
	{"1e12", 0, false}, {"1e400", 0, false}, {"-1e400", 0, false}, {"1e9999", 0, false}, {"1e99999999999999999999999", 0, false},
	{"1e-99999999999999999999999", 0, false}, // no date was ever written so
	{"99999999999999999999999999999999", 0, false},
}

func TestNumericDate(t *testing.T) {
	for _, n := range numericDates {
		if ms, ok := floorMilli([]byte(n.text)); ok != n.ok || ok && ms != n.ms {
			t.Errorf("%s: %d, %v; want %d, %v", n.text, ms, ok, n.ms, n.ok)
		}
	}
}
