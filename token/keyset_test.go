package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// jwk writes the public JWK of a key by hand, with nothing but what defines it.
func jwk(t testing.TB, public crypto.PublicKey) object {
	t.Helper()
	text := func(b []byte) string { return strconv.Quote(base64.RawURLEncoding.EncodeToString(b)) }
	switch k := public.(type) {
	case ed25519.PublicKey:
		return object{"kty", `"OKP"`, "crv", `"Ed25519"`, "x", text(k)}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return object{"kty", `"EC"`, "crv", strconv.Quote(k.Params().Name), "x", text(point[1 : 1+half]), "y", text(point[1+half:])}
	case *rsa.PublicKey:
		return object{"kty", `"RSA"`, "n", text(k.N.Bytes()), "e", text(big.NewInt(int64(k.E)).Bytes())}
	}
	t.Fatalf("no JWK of a %T", public)
	return nil
}

func jwks(keys ...object) string {
	all := make([]string, len(keys))
	for i, k := range keys {
		all[i] = k.String()
	}
	return `{"keys":[` + strings.Join(all, ",") + `]}`
}

func TestStaticKeySet(t *testing.T) {
	ed, ec, rs, ps, hs := edSigner(t, "ed", forgeKeys().ed).key, ecSigner(t, "ec").key, rsSigner(t, "rs").key, psSigner(t, "ps", 32).key, hmacSigner(t, "hs").key
	rs2, _ := token.NewKey("rs2", token.RS256, forgeKeys().rsa.Public())
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	twin := edSigner(t, "ed", private).key
	for name, keys := range map[string][]*token.Key{
		"empty":                       {},
		"nil":                         {ed, nil},
		"zero":                        {new(token.Key)},
		"two keys of one name":        {ed, twin},
		"a secret beside public keys": {ed, hs},
		"public keys beside a secret": {hs, ed},
	} {
		if s, err := token.NewStaticKeySet(keys...); s != nil || !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: set %v, error %v", name, s, err)
		}
	}
	set, err := token.NewStaticKeySet(ed, ec, rs, rs2, ps, ed, mustKey(t, "ps", token.PS256, forgeKeys().rsa.Public()))
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 5 || set.Skipped() != 0 {
		t.Errorf("%d keys, %d skipped", set.Len(), set.Skipped())
	}
	for _, x := range []struct {
		kid  string
		alg  token.Algorithm
		want *token.Key
	}{
		{"ed", token.EdDSA, ed},
		{"rs", token.RS256, rs},
		{"", token.EdDSA, ed}, // the only one for it
		{"", token.PS256, ps},
		{"", token.RS256, nil}, // two
		{"", token.RS384, nil}, // none
		{"", "", nil},
		{"rs", token.PS256, nil}, // a key has one algorithm
		{"ed", token.HS256, nil},
		{"ED", token.EdDSA, nil},
		{"no", token.EdDSA, nil},
	} {
		key, err := set.Lookup(t.Context(), x.kid, x.alg)
		if key != x.want || (key == nil) != errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("kid %q, alg %q: key %v, error %v", x.kid, x.alg, key, err)
		}
	}
	three, err := token.NewStaticKeySet(rs, rs2, mustKey(t, "rs3", token.RS256, forgeKeys().rsa.Public()))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := three.Lookup(t.Context(), "", token.RS256); key != nil || !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("no kid and three keys: key %v, error %v", key, err)
	}
}

func mustKey(t testing.TB, kid string, alg token.Algorithm, public crypto.PublicKey) *token.Key {
	t.Helper()
	k, err := token.NewKey(kid, alg, public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What a published set may hold, and what becomes of it.
func TestParseKeySet(t *testing.T) {
	k := forgeKeys()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed := jwk(t, k.ed.Public()).with("kid", `"ed"`).with("alg", `"EdDSA"`)
	ec := jwk(t, k.ec.Public()).with("kid", `"ec"`)
	rs := jwk(t, k.rsa.Public()).with("kid", `"rs"`)
	alg := func(o object, alg string) object { return o.with("alg", strconv.Quote(alg)) }
	small := jwk(t, &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Rsh(k.rsa.N, 1024), 0, 1), E: 65537})
	for _, x := range []struct {
		name          string
		set           string
		algorithms    []token.Algorithm
		used, skipped int
		want          error
	}{
		{"one key", jwks(ed), nil, 1, 0, nil},
		{"all kinds", jwks(ed, ec, alg(rs, "PS384")), nil, 3, 0, nil},
		{"unknown members", `{"a":{"b":[1]},"keys":[` + ed.with("x5c", `["AA=="]`).with("ext", "true").String() + `],"z":null}`, nil, 1, 0, nil},
		{"use sig, key_ops verify", jwks(ed.with("use", `"sig"`).with("key_ops", `["verify"]`)), nil, 1, 0, nil},
		{"two without kid", jwks(ed.without("kid"), ec.without("kid")), nil, 2, 0, nil},
		{"two of one kid, each for its algorithm", jwks(ed, ec.with("kid", `"ed"`)), nil, 2, 0, nil},
		{"one key under one kid for three algorithms", jwks(alg(rs, "RS256"), alg(rs, "RS384"), alg(rs, "RS512")), nil, 3, 0, nil},
		{"the same key twice", jwks(ed, ed, ec.without("kid"), ec.without("kid")), nil, 2, 0, nil},
		{"kid null", jwks(ed.with("kid", `null`)), nil, 1, 0, nil},
		{"kid empty", jwks(ed.with("kid", `""`)), nil, 1, 0, nil},
		{"key_ops a string", jwks(ed.with("key_ops", `"verify"`)), nil, 1, 0, nil},
		{"key_ops another string", jwks(ed, ec.with("key_ops", `"wrapKey"`)), nil, 1, 1, nil},
		{"malformed, but not of this kty", jwks(ed.with("n", `1`).with("y", `[]`), ec.with("e", `65537`), alg(rs, "RS256").with("x", `1`).with("crv", `{}`)), nil, 3, 0, nil},

		// A key without alg (CVE-2026-22817, CVE-2026-44699).
		{"EC without alg", jwks(ec), nil, 1, 0, nil},
		{"Ed25519 without alg", jwks(ed.without("alg")), nil, 1, 0, nil},
		{"RSA without alg", jwks(ed, rs), nil, 1, 1, nil},
		{"RSA without alg alone", jwks(rs), nil, 0, 0, token.ErrKey},
		{"RSA without alg, one asked for", jwks(rs), []token.Algorithm{token.EdDSA, token.RS256}, 1, 0, nil},
		{"RSA without alg, one asked for twice", jwks(rs), []token.Algorithm{token.RS256, token.RS256}, 1, 0, nil},
		{"RSA without alg, two asked for", jwks(ed, rs), []token.Algorithm{token.EdDSA, token.RS256, token.PS256}, 1, 1, nil},
		{"EC without alg, none asked for", jwks(ed, ec), []token.Algorithm{token.EdDSA}, 1, 1, nil},

		// Not for us (CVE-2026-42576).
		{"use enc", jwks(ed, alg(rs, "RS256").with("use", `"enc"`)), nil, 1, 1, nil},
		{"weak, but not for us", jwks(ed, small.with("use", `"enc"`)), nil, 1, 1, nil},
		{"key_ops without verify", jwks(ed, ec.with("key_ops", `["encrypt","wrapKey"]`)), nil, 1, 1, nil},
		{"key_ops empty", jwks(ed, ec.with("key_ops", `[]`)), nil, 1, 1, nil},
		{"unknown kty", jwks(ed, object{"kty", `"AKP"`, "pub", `"AA"`}), nil, 1, 1, nil},
		{"unknown crv", jwks(ed, object{"kty", `"OKP"`, "crv", `"X25519"`, "x", `"AA"`}, ec.with("crv", `"secp256k1"`)), nil, 1, 2, nil},
		{"unknown alg", jwks(ed, alg(rs, "RSA-OAEP"), alg(ec, "ES224")), nil, 1, 2, nil},
		{"alg not asked for", jwks(ed, alg(rs, "RS512")), []token.Algorithm{token.EdDSA, token.RS256}, 1, 1, nil},
		{"nothing for us", jwks(alg(rs, "RSA-OAEP")), nil, 0, 0, token.ErrKey},
		{"kty in another case", jwks(ed, ec.with("kty", `"ec"`)), nil, 1, 1, nil},
		{"no kty", jwks(ed, ec.without("kty").with("x", `1`)), nil, 1, 1, nil},
		{"kty no string", jwks(ed, ec.with("kty", `1`).with("kid", `null`)), nil, 1, 1, nil},
		{"unknown kty, other members than ours", jwks(ed, object{"x", `1`, "e", `[1]`, "kid", `7`, "kty", `"AKP"`, "alg", `null`, "use", `null`, "key_ops", `1`, "priv", `"AA"`, "d", `"AA"`}), nil, 1, 1, nil},
		{"use enc, other members than ours", jwks(ed, rs.with("kid", `""`).with("n", `1`).with("alg", `null`).with("key_ops", `"wrapKey"`).with("use", `"enc"`)), nil, 1, 1, nil},

		// Refused whole.
		{"no keys", jwks(), nil, 0, 0, token.ErrKey},
		{"two keys of one kid for one algorithm", jwks(ec, jwk(t, other.Public()).with("kid", `"ec"`)), nil, 0, 0, token.ErrKey},
		{"secret", jwks(ed, object{"kty", `"oct"`, "k", `"AAAA"`}), nil, 0, 0, token.ErrKey},
		{"secret with another kty", jwks(ed, ec.with("k", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"private", jwks(ed.with("d", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"private, for encryption", jwks(ed, rs.with("use", `"enc"`).with("p", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"weak RSA", jwks(ed, alg(small, "RS256")), nil, 0, 0, token.ErrWeakKey},
		{"e = 1", jwks(alg(rs, "RS256").with("e", `"AQ"`)), nil, 0, 0, token.ErrWeakKey},
		{"low order", jwks(ed.with("x", strconv.Quote(strings.Repeat("A", 43)))), nil, 0, 0, token.ErrWeakKey},
		{"off the curve", jwks(ec.with("y", ec[5])), nil, 0, 0, token.ErrKey},
		{"x of another length", jwks(jwk(t, p384.Public()).with("crv", `"P-256"`)), nil, 0, 0, token.ErrKey},
		{"alg of another kty", jwks(alg(ec, "RS256")), nil, 0, 0, token.ErrKey},
		{"alg of another curve", jwks(alg(ec, "ES384")), nil, 0, 0, token.ErrKey},
		{"alg of secrets", jwks(alg(rs, "HS256")), nil, 0, 0, token.ErrKey},
		{"x missing", jwks(ed.without("x")), nil, 0, 0, token.ErrKey},
		{"x padded", jwks(ed.with("x", `"AAAA="`)), nil, 0, 0, token.ErrKey},
		{"no kty alone", jwks(ed.without("kty")), nil, 0, 0, token.ErrKey},
		{"kty no string alone", jwks(ed.with("kty", `1`)), nil, 0, 0, token.ErrKey},
		{"kid no string", jwks(ed.with("kid", `7`)), nil, 0, 0, token.ErrKey},
		{"kid too long", jwks(ed.with("kid", strconv.Quote(strings.Repeat("k", 513)))), nil, 0, 0, token.ErrKey},
		{"use no string", jwks(ed.with("use", `["sig"]`)), nil, 0, 0, token.ErrKey},
		{"alg no string", jwks(ed.with("alg", `["EdDSA"]`)), nil, 0, 0, token.ErrKey},
		{"key_ops no array", jwks(ed.with("key_ops", `{}`)), nil, 0, 0, token.ErrKey},
		{"key_ops of numbers", jwks(ed.with("key_ops", `[1]`)), nil, 0, 0, token.ErrKey},
		{"member twice in a key of unknown kty", jwks(ed, object{"kty", `"AKP"`, "x", `1`, "x", `1`}), nil, 0, 0, token.ErrKey},
		{"malformed, use sig", jwks(ed, ec.with("use", `"sig"`).with("x", `1`)), nil, 0, 0, token.ErrKey},
		{"malformed, not asked for", jwks(ed, ec.with("x", `1`)), []token.Algorithm{token.EdDSA}, 0, 0, token.ErrKey},
		{"member twice", jwks(ed.plus("kid", `"b"`)), nil, 0, 0, token.ErrKey},
		{"keys twice", `{"keys":[` + ed.String() + `],"keys":[]}`, nil, 0, 0, token.ErrKey},
		{"keys no array", `{"keys":` + ed.String() + `}`, nil, 0, 0, token.ErrKey},
		{"a key no object", `{"keys":["a"]}`, nil, 0, 0, token.ErrKey},
		{"a key alone", ed.String(), nil, 0, 0, token.ErrKey},
		{"text after it", jwks(ed) + "{}", nil, 0, 0, token.ErrKey},
		{"bad UTF-8", `{"keys":[],"` + "\xff" + `":1}`, nil, 0, 0, token.ErrKey},
		{"HTML", "<!DOCTYPE html><title>Sign in</title>", nil, 0, 0, token.ErrKey},
		{"empty", "", nil, 0, 0, token.ErrKey},
		{"null", "null", nil, 0, 0, token.ErrKey},
		{"too many keys", jwks(make([]object, 101)...), nil, 0, 0, token.ErrKey},
		{"too large", jwks(ed) + strings.Repeat(" ", 256<<10), nil, 0, 0, token.ErrKey},
		{"deep", strings.Repeat(`{"keys":[`, 50_000), nil, 0, 0, token.ErrKey},

		{"algorithms of secrets", jwks(ed), []token.Algorithm{token.HS256}, 0, 0, token.ErrKey},
		{"algorithms unknown", jwks(ed), []token.Algorithm{"none"}, 0, 0, token.ErrKey},
	} {
		set, err := token.ParseKeySet([]byte(x.set), x.algorithms...)
		if !errors.Is(err, x.want) || (set == nil) == (err == nil) || err != nil && !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: error %v, want %v", x.name, err, x.want)
			continue
		}
		if set != nil && (set.Len() != x.used || set.Skipped() != x.skipped) {
			t.Errorf("%s: %d used, %d skipped; want %d, %d", x.name, set.Len(), set.Skipped(), x.used, x.skipped)
		}
	}
}

// A private key in a set is named, never shown (invariant 10).
func TestParseKeySetHidesSecrets(t *testing.T) {
	secret := base64.RawURLEncoding.EncodeToString(forgeKeys().ed.Seed())
	_, err := token.ParseKeySet([]byte(jwks(jwk(t, forgeKeys().ed.Public()).with("d", strconv.Quote(secret)))))
	if err == nil || leaks(err.Error(), secret) != "" {
		t.Errorf("error %v", err)
	}
}

// Every private member is refused in every kind of key, whatever stands in it
// (invariant 10); the good twin is the key without it.
func TestParseKeySetRefusesPrivateMembers(t *testing.T) {
	k := forgeKeys()
	for kty, o := range map[string]object{
		"RSA": jwk(t, k.rsa.Public()).with("alg", `"RS256"`),
		"EC":  jwk(t, k.ec.Public()),
		"OKP": jwk(t, k.ed.Public()),
	} {
		if _, err := token.ParseKeySet([]byte(jwks(o))); err != nil {
			t.Errorf("%s: %v", kty, err)
		}
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			for _, value := range []string{`"AAAA"`, `""`, `[{"r":"AA","d":"AA","t":"AA"}]`} {
				for _, o := range []object{o.with(name, value), o.with("use", `"enc"`).with(name, value)} {
					_, err := token.ParseKeySet([]byte(jwks(jwk(t, k.ed.Public()).with("kid", `"good"`), o)))
					if !errors.Is(err, token.ErrKey) || !strings.Contains(err.Error(), "private member "+name) {
						t.Errorf("%s with %s %s: error %v", kty, name, value, err)
					}
				}
			}
		}
	}
}

// A member that is null is not there: many serialisers write what is absent so. One
// that the key needs is then missing.
func TestParseKeySetTakesNull(t *testing.T) {
	k := forgeKeys()
	good := jwk(t, k.ec.Public()).with("kid", `"good"`)
	for kty, o := range map[string]object{"RSA": jwk(t, k.rsa.Public()).with("alg", `"RS256"`), "EC": jwk(t, k.ec.Public()), "OKP": jwk(t, k.ed.Public())} {
		needs := map[string]string{"RSA": "n e", "EC": "x y", "OKP": "x"}[kty]
		for _, name := range []string{"kid", "use", "key_ops", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "k", "x5c", "issuer"} {
			set, err := token.ParseKeySet([]byte(jwks(good, o.with(name, "null"))))
			switch {
			case name == "crv" && kty != "RSA":
				if err != nil || set.Skipped() != 1 {
					t.Errorf("%s with crv null: %v", kty, err)
				}
			case slices.Contains(strings.Fields(needs), name):
				if !errors.Is(err, token.ErrKey) || !strings.Contains(err.Error(), "member "+name+" is missing") {
					t.Errorf("%s with %s null: error %v", kty, name, err)
				}
			case err != nil || set.Skipped() != 0:
				t.Errorf("%s with %s null: %v", kty, name, err)
			}
		}
	}
	// Without alg it is what any key without alg is.
	if _, err := token.ParseKeySet([]byte(jwks(jwk(t, k.rsa.Public()).with("alg", "null")))); !errors.Is(err, token.ErrKey) || !strings.Contains(err.Error(), "several fit") {
		t.Errorf("RSA with alg null: %v", err)
	}
}

// Points of an Ed25519 key that are none, and those of small order, are told apart:
// x = 0 has one sign only (RFC 8032 section 5.1.3).
func TestParseKeySetZeroX(t *testing.T) {
	point := func(y *big.Int, sign byte) string {
		b := y.FillBytes(make([]byte, 32))
		slices.Reverse(b)
		b[31] |= sign << 7
		return jwks(jwk(t, ed25519.PublicKey(b)))
	}
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	for name, y := range map[string]*big.Int{"1": big.NewInt(1), "-1": p.Sub(p, big.NewInt(1))} {
		for sign, want := range []string{"small order", "no point"} {
			if _, err := token.ParseKeySet([]byte(point(y, byte(sign)))); !errors.Is(err, token.ErrWeakKey) || !strings.Contains(err.Error(), want) {
				t.Errorf("y = %s, sign %d: error %v", name, sign, err)
			}
		}
	}
}

// The same kid at two issuers (CVE-2026-49998): each verifier has its own set,
// and neither takes a token of the other's key, whomever that names as its issuer.
func TestSameKidAtTwoIssuers(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	type party struct {
		issuer string
		signer signer
		v      *token.Verifier
	}
	var parties []party
	for issuer, key := range map[string]ed25519.PrivateKey{"https://one.example.com": forgeKeys().ed, "https://two.example.com": private} {
		s := edSigner(t, "1", key)
		set := jsonHandler(jwks(jwk(t, key.Public()).with("kid", `"1"`)))
		keys, err := token.RemoteKeys(t.Context(), issuer+"/jwks.json", token.RemoteKeysConfig{Transport: &keyServer{h: set}})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		parties = append(parties, party{issuer, s, forgedVerifier(t, func(c *token.VerifierConfig) {
			c.Issuer, c.Algorithms, c.Keys = issuer, []token.Algorithm{token.EdDSA}, keys
		})})
	}
	for _, signs := range parties {
		for _, named := range parties {
			raw := signs.signer.forge(signs.signer.header(), goodClaims(time.Now()).with("iss", strconv.Quote(named.issuer)))
			for _, reads := range parties {
				var want error
				switch {
				case reads.issuer != signs.issuer:
					want = token.ErrSignature
				case reads.issuer != named.issuer:
					want = token.ErrIssuer
				}
				if _, err := reads.v.Verify(t.Context(), raw); !errors.Is(err, want) {
					t.Errorf("%s reads what %s signed for %s: error %v, want %v", reads.issuer, signs.issuer, named.issuer, err, want)
				}
			}
		}
	}
}

// FuzzParseKeySet: no panic, and what is accepted is within bounds and finds itself.
func FuzzParseKeySet(f *testing.F) {
	k := forgeKeys()
	ed := jwk(f, k.ed.Public())
	ec := jwk(f, k.ec.Public()).with("kid", `"ec"`).with("use", `"sig"`)
	rs := jwk(f, k.rsa.Public()).with("alg", `"RS256"`).with("key_ops", `["verify"]`)
	for _, set := range []string{
		jwks(ed, ec, rs), jwks(), jwks(ed, ed), jwks(rs.without("alg")), jwks(ed.with("d", `"AA"`)), jwks(object{"kty", `"oct"`, "k", `"AA"`}),
		`{"keys":[{"kty":"RSA","n":"","e":""}]}`, `{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}]}`, `{"keys":null}`, `{"keys":[null]}`, `[]`, ``,
		`{"keys":[{"kty":"\u0052SA","alg":"RS256","n":"AQAB","e":"AQAB"}]}`,
	} {
		f.Add(set)
	}
	f.Fuzz(func(t *testing.T, data string) {
		set, err := token.ParseKeySet([]byte(data))
		if err != nil {
			if set != nil || !errors.Is(err, token.ErrKey) {
				t.Fatalf("set %v, error %v", set, err)
			}
			return
		}
		if n := set.Len() + set.Skipped(); set.Len() == 0 || n > 100 || len(data) > 256<<10 {
			t.Fatalf("%d keys of %d bytes", n, len(data))
		}
		found := 0
		for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256, token.PS256} {
			key, err := set.Lookup(context.Background(), "", alg)
			if err != nil {
				continue
			}
			found++
			if again, err := set.Lookup(context.Background(), key.ID(), alg); again != key || err != nil {
				t.Fatalf("%v does not find itself: %v", key, err)
			}
			if len(key.Thumbprint()) != 43 || !strings.Contains(fmt.Sprint(key), key.Thumbprint()) {
				t.Fatalf("%v", key)
			}
		}
		if found > set.Len() {
			t.Fatalf("%d of %d keys found", found, set.Len())
		}
	})
}
