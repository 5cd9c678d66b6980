package token

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// FuzzMetadata: what is accepted names the issuer as encoding/json reads it too.
func FuzzMetadata(f *testing.F) {
	const issuer = "https://sso.example.com"
	for _, s := range []string{
		`{"issuer":"https://sso.example.com","jwks_uri":"https://sso.example.com/keys"}`,
		`{"issuer":"https://sso.example.com","issuer":"x","jwks_uri":"y"}`,
		`{"\u0069ssuer":"https://sso.example.com","jwks_uri":"a","x":{"issuer":"evil"}}`,
		`{"issuer":null}`, `{"jwks_uri":7}`, `[]`, ``, `{}`, `{"issuer":"https://sso.example.com/"}`, `{"issuer":"https://sso.example.com","jwks_uri":""}{}`,
		"{\"issuer\":\"https://sso.example.com\",\"jwks_uri\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		uri, err := parseMetadata(data, issuer)
		if err != nil {
			if uri != "" {
				t.Fatalf("%q beside an error", uri)
			}
			return
		}
		plain := plainObject(t, data)
		if plainText(plain["issuer"]) != issuer || plainText(plain["jwks_uri"]) != uri || uri == "" || len(uri) > maxURLBytes {
			t.Fatalf("%q read as %q", data, uri)
		}
	})
}

// FuzzForeignKeySet: what ParseKeySet accepts is accepted here with the same keys;
// beyond that, bad keys are left out, and a private half takes its public one along.
func FuzzForeignKeySet(f *testing.F) {
	const ed = `{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for _, s := range []string{
		ed, ed + "," + ed, ed + `,{}`, ed + `,{"kty":"oct","k":"AA"}`, strings.Replace(ed, `"kid"`, `"d":"AA","kid"`, 1) + "," + strings.Replace(ed, `"1"`, `"2"`, 1),
		ed + `,{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"}`, `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, strings.Replace(ed, `"kid"`, `"issuer":"x","kid"`, 1), `null`, `1`, ``,
		strings.Replace(ed, `"kid"`, `"alg":7,"d":"AA","kid"`, 1) + "," + strings.Replace(ed, `"1"`, `"2"`, 1) + `,{"kty":"RSA","n":"","e":""}`,
	} {
		f.Add([]byte(`{"keys":[` + s + `]}`))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseForeignKeySet(data, nil, "")
		strict, strictErr := ParseKeySet(data)
		if errors.Is(err, errNoUsableKey) && set.Len() == 0 {
			set = nil // it says why
		}
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v, error %v", set, err)
		}
		if strictErr == nil && (err != nil || set.Len() != strict.Len()) {
			t.Fatalf("error %v where ParseKeySet finds %d keys", err, strict.Len())
		}
		if err != nil {
			return
		}
		var plain struct {
			Keys []map[string]json.RawMessage `json:"keys"`
		}
		_ = json.Unmarshal(data, &plain)
		for _, k := range plain.Keys {
			if private, ok := k["d"]; !ok || string(private) == "null" || plainText(k["kty"]) != "OKP" || plainText(k["crv"]) != "Ed25519" {
				continue
			}
			for key := range set.all {
				if strings.Contains(string(key.jwk), `"x":"`+plainText(k["x"])+`"`) && key.alg == EdDSA {
					t.Fatalf("a published private key verifies: %s", data)
				}
			}
		}
	})
}
