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
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

func TestStaticKeySet(t *testing.T) {
	ed, ec, rs, ps, hs := forge.Ed(t, "ed", forge.Keys().Ed).Key, forge.EC(t, "ec").Key, forge.RS(t, "rs").Key, forge.PS(t, "ps", 32).Key, forge.HMAC(t, "hs").Key
	rs2, _ := token.NewKey("rs2", token.RS256, forge.Keys().Rsa.Public())
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	twin := forge.Ed(t, "ed", private).Key
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
	set, err := token.NewStaticKeySet(ed, ec, rs, rs2, ps, ed, mustKey(t, "ps", token.PS256, forge.Keys().Rsa.Public()))
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
	three, err := token.NewStaticKeySet(rs, rs2, mustKey(t, "rs3", token.RS256, forge.Keys().Rsa.Public()))
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
	k := forge.Keys()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed := forge.JWK(t, k.Ed.Public()).With("kid", `"ed"`).With("alg", `"EdDSA"`)
	ec := forge.JWK(t, k.Ec.Public()).With("kid", `"ec"`)
	rs := forge.JWK(t, k.Rsa.Public()).With("kid", `"rs"`)
	alg := func(o forge.Object, alg string) forge.Object { return o.With("alg", strconv.Quote(alg)) }
	small := forge.JWK(t, &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Rsh(k.Rsa.N, 1024), 0, 1), E: 65537})
	for _, x := range []struct {
		name          string
		set           string
		algorithms    []token.Algorithm
		used, skipped int
		want          error
	}{
		{"one key", forge.JWKS(ed), nil, 1, 0, nil},
		{"all kinds", forge.JWKS(ed, ec, alg(rs, "PS384")), nil, 3, 0, nil},
		{"unknown members", `{"a":{"b":[1]},"keys":[` + ed.With("x5c", `["AA=="]`).With("ext", "true").String() + `],"z":null}`, nil, 1, 0, nil},
		{"use sig, key_ops verify", forge.JWKS(ed.With("use", `"sig"`).With("key_ops", `["verify"]`)), nil, 1, 0, nil},
		{"two without kid", forge.JWKS(ed.Without("kid"), ec.Without("kid")), nil, 2, 0, nil},
		{"two of one kid, each for its algorithm", forge.JWKS(ed, ec.With("kid", `"ed"`)), nil, 2, 0, nil},
		{"one key under one kid for three algorithms", forge.JWKS(alg(rs, "RS256"), alg(rs, "RS384"), alg(rs, "RS512")), nil, 3, 0, nil},
		{"the same key twice", forge.JWKS(ed, ed, ec.Without("kid"), ec.Without("kid")), nil, 2, 0, nil},
		{"kid null", forge.JWKS(ed.With("kid", `null`)), nil, 1, 0, nil},
		{"kid empty", forge.JWKS(ed.With("kid", `""`)), nil, 1, 0, nil},
		{"key_ops a string", forge.JWKS(ed.With("key_ops", `"verify"`)), nil, 1, 0, nil},
		{"key_ops another string", forge.JWKS(ed, ec.With("key_ops", `"wrapKey"`)), nil, 1, 1, nil},
		{"malformed, but not of this kty", forge.JWKS(ed.With("n", `1`).With("y", `[]`), ec.With("e", `65537`), alg(rs, "RS256").With("x", `1`).With("crv", `{}`)), nil, 3, 0, nil},

		{"a hundred keys", forge.JWKS(manyKeys(ed, 100)...), nil, 100, 0, nil},
		{"one more", forge.JWKS(manyKeys(ed, 101)...), nil, 0, 0, token.ErrKey},

		// A key without alg (CVE-2026-22817, CVE-2026-44699).
		{"EC without alg", forge.JWKS(ec), nil, 1, 0, nil},
		{"Ed25519 without alg", forge.JWKS(ed.Without("alg")), nil, 1, 0, nil},
		{"RSA without alg", forge.JWKS(ed, rs), nil, 1, 1, nil},
		{"RSA without alg alone", forge.JWKS(rs), nil, 0, 0, token.ErrKey},
		{"RSA without alg, one asked for", forge.JWKS(rs), []token.Algorithm{token.EdDSA, token.RS256}, 1, 0, nil},
		{"RSA without alg, one asked for twice", forge.JWKS(rs), []token.Algorithm{token.RS256, token.RS256}, 1, 0, nil},
		{"RSA without alg, two asked for", forge.JWKS(ed, rs), []token.Algorithm{token.EdDSA, token.RS256, token.PS256}, 1, 1, nil},
		{"EC without alg, none asked for", forge.JWKS(ed, ec), []token.Algorithm{token.EdDSA}, 1, 1, nil},

		// Not for us (CVE-2026-42576).
		{"use enc", forge.JWKS(ed, alg(rs, "RS256").With("use", `"enc"`)), nil, 1, 1, nil},
		{"weak, but not for us", forge.JWKS(ed, small.With("use", `"enc"`)), nil, 1, 1, nil},
		{"key_ops without verify", forge.JWKS(ed, ec.With("key_ops", `["encrypt","wrapKey"]`)), nil, 1, 1, nil},
		{"key_ops empty", forge.JWKS(ed, ec.With("key_ops", `[]`)), nil, 1, 1, nil},
		{"unknown kty", forge.JWKS(ed, forge.Object{"kty", `"AKP"`, "pub", `"AA"`}), nil, 1, 1, nil},
		{"unknown crv", forge.JWKS(ed, forge.Object{"kty", `"OKP"`, "crv", `"X25519"`, "x", `"AA"`}, ec.With("crv", `"secp256k1"`)), nil, 1, 2, nil},
		{"unknown alg", forge.JWKS(ed, alg(rs, "RSA-OAEP"), alg(ec, "ES224")), nil, 1, 2, nil},
		{"alg not asked for", forge.JWKS(ed, alg(rs, "RS512")), []token.Algorithm{token.EdDSA, token.RS256}, 1, 1, nil},
		{"nothing for us", forge.JWKS(alg(rs, "RSA-OAEP")), nil, 0, 0, token.ErrKey},
		{"kty in another case", forge.JWKS(ed, ec.With("kty", `"ec"`)), nil, 1, 1, nil},
		{"no kty", forge.JWKS(ed, ec.Without("kty").With("x", `1`)), nil, 1, 1, nil},
		{"kty no string", forge.JWKS(ed, ec.With("kty", `1`).With("kid", `null`)), nil, 1, 1, nil},
		{"unknown kty, other members than ours", forge.JWKS(ed, forge.Object{"x", `1`, "e", `[1]`, "kid", `7`, "kty", `"AKP"`, "alg", `null`, "use", `null`, "key_ops", `1`, "priv", `"AA"`, "d", `"AA"`}), nil, 1, 1, nil},
		{"use enc, other members than ours", forge.JWKS(ed, rs.With("kid", `""`).With("n", `1`).With("alg", `null`).With("key_ops", `"wrapKey"`).With("use", `"enc"`)), nil, 1, 1, nil},

		// Refused whole.
		{"no keys", forge.JWKS(), nil, 0, 0, token.ErrKey},
		{"two keys of one kid for one algorithm", forge.JWKS(ec, forge.JWK(t, other.Public()).With("kid", `"ec"`)), nil, 0, 0, token.ErrKey},
		{"secret", forge.JWKS(ed, forge.Object{"kty", `"oct"`, "k", `"AAAA"`}), nil, 0, 0, token.ErrKey},
		{"secret with another kty", forge.JWKS(ed, ec.With("k", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"private", forge.JWKS(ed.With("d", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"private, for encryption", forge.JWKS(ed, rs.With("use", `"enc"`).With("p", `"AAAA"`)), nil, 0, 0, token.ErrKey},
		{"weak RSA", forge.JWKS(ed, alg(small, "RS256")), nil, 0, 0, token.ErrWeakKey},
		{"e = 1", forge.JWKS(alg(rs, "RS256").With("e", `"AQ"`)), nil, 0, 0, token.ErrWeakKey},
		{"low order", forge.JWKS(ed.With("x", strconv.Quote(strings.Repeat("A", 43)))), nil, 0, 0, token.ErrWeakKey},
		{"off the curve", forge.JWKS(ec.With("y", ec[5])), nil, 0, 0, token.ErrKey},
		{"x of another length", forge.JWKS(forge.JWK(t, p384.Public()).With("crv", `"P-256"`)), nil, 0, 0, token.ErrKey},
		{"alg of another kty", forge.JWKS(alg(ec, "RS256")), nil, 0, 0, token.ErrKey},
		{"alg of another curve", forge.JWKS(alg(ec, "ES384")), nil, 0, 0, token.ErrKey},
		{"alg of secrets", forge.JWKS(alg(rs, "HS256")), nil, 0, 0, token.ErrKey},
		{"x missing", forge.JWKS(ed.Without("x")), nil, 0, 0, token.ErrKey},
		{"x padded", forge.JWKS(ed.With("x", `"AAAA="`)), nil, 0, 0, token.ErrKey},
		{"no kty alone", forge.JWKS(ed.Without("kty")), nil, 0, 0, token.ErrKey},
		{"kty no string alone", forge.JWKS(ed.With("kty", `1`)), nil, 0, 0, token.ErrKey},
		{"kid no string", forge.JWKS(ed.With("kid", `7`)), nil, 0, 0, token.ErrKey},
		{"kid too long", forge.JWKS(ed.With("kid", strconv.Quote(strings.Repeat("k", 513)))), nil, 0, 0, token.ErrKey},
		{"use no string", forge.JWKS(ed.With("use", `["sig"]`)), nil, 0, 0, token.ErrKey},
		{"alg no string", forge.JWKS(ed.With("alg", `["EdDSA"]`)), nil, 0, 0, token.ErrKey},
		{"key_ops no array", forge.JWKS(ed.With("key_ops", `{}`)), nil, 0, 0, token.ErrKey},
		{"key_ops of numbers", forge.JWKS(ed.With("key_ops", `[1]`)), nil, 0, 0, token.ErrKey},
		{"member twice in a key of unknown kty", forge.JWKS(ed, forge.Object{"kty", `"AKP"`, "x", `1`, "x", `1`}), nil, 0, 0, token.ErrKey},
		{"malformed, use sig", forge.JWKS(ed, ec.With("use", `"sig"`).With("x", `1`)), nil, 0, 0, token.ErrKey},
		{"malformed, not asked for", forge.JWKS(ed, ec.With("x", `1`)), []token.Algorithm{token.EdDSA}, 0, 0, token.ErrKey},
		{"member twice", forge.JWKS(ed.Plus("kid", `"b"`)), nil, 0, 0, token.ErrKey},
		{"keys twice", `{"keys":[` + ed.String() + `],"keys":[]}`, nil, 0, 0, token.ErrKey},
		{"keys no array", `{"keys":` + ed.String() + `}`, nil, 0, 0, token.ErrKey},
		{"a key no object", `{"keys":["a"]}`, nil, 0, 0, token.ErrKey},
		{"a key alone", ed.String(), nil, 0, 0, token.ErrKey},
		{"text after it", forge.JWKS(ed) + "{}", nil, 0, 0, token.ErrKey},
		{"bad UTF-8", `{"keys":[],"` + "\xff" + `":1}`, nil, 0, 0, token.ErrKey},
		{"HTML", "<!DOCTYPE html><title>Sign in</title>", nil, 0, 0, token.ErrKey},
		{"empty", "", nil, 0, 0, token.ErrKey},
		{"null", "null", nil, 0, 0, token.ErrKey},
		{"too many keys", forge.JWKS(make([]forge.Object, 101)...), nil, 0, 0, token.ErrKey},
		{"too large", forge.JWKS(ed) + strings.Repeat(" ", 256<<10), nil, 0, 0, token.ErrKey},
		{"deep", strings.Repeat(`{"keys":[`, 50_000), nil, 0, 0, token.ErrKey},

		{"algorithms of secrets", forge.JWKS(ed), []token.Algorithm{token.HS256}, 0, 0, token.ErrKey},
		{"algorithms unknown", forge.JWKS(ed), []token.Algorithm{"none"}, 0, 0, token.ErrKey},
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
// manyKeys is so many spellings of one key.
func manyKeys(key forge.Object, n int) (list []forge.Object) {
	for i := range n {
		list = append(list, key.With("kid", strconv.Quote(fmt.Sprint("k", i))))
	}
	return list
}

func TestParseKeySetHidesSecrets(t *testing.T) {
	secret := base64.RawURLEncoding.EncodeToString(forge.Keys().Ed.Seed())
	_, err := token.ParseKeySet([]byte(forge.JWKS(forge.JWK(t, forge.Keys().Ed.Public()).With("d", strconv.Quote(secret)))))
	if err == nil || forge.Leaks(err.Error(), secret) != "" {
		t.Errorf("error %v", err)
	}
}

// Every private member is refused in every kind of key, whatever stands in it
// (invariant 10); the good twin is the key without it.
func TestParseKeySetRefusesPrivateMembers(t *testing.T) {
	k := forge.Keys()
	for kty, o := range map[string]forge.Object{
		"RSA": forge.JWK(t, k.Rsa.Public()).With("alg", `"RS256"`),
		"EC":  forge.JWK(t, k.Ec.Public()),
		"OKP": forge.JWK(t, k.Ed.Public()),
	} {
		if _, err := token.ParseKeySet([]byte(forge.JWKS(o))); err != nil {
			t.Errorf("%s: %v", kty, err)
		}
		for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			for _, value := range []string{`"AAAA"`, `""`, `[{"r":"AA","d":"AA","t":"AA"}]`} {
				for _, o := range []forge.Object{o.With(name, value), o.With("use", `"enc"`).With(name, value)} {
					_, err := token.ParseKeySet([]byte(forge.JWKS(forge.JWK(t, k.Ed.Public()).With("kid", `"good"`), o)))
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
	k := forge.Keys()
	good := forge.JWK(t, k.Ec.Public()).With("kid", `"good"`)
	for kty, o := range map[string]forge.Object{"RSA": forge.JWK(t, k.Rsa.Public()).With("alg", `"RS256"`), "EC": forge.JWK(t, k.Ec.Public()), "OKP": forge.JWK(t, k.Ed.Public())} {
		needs := map[string]string{"RSA": "n e", "EC": "x y", "OKP": "x"}[kty]
		for _, name := range []string{"kid", "use", "key_ops", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "k", "x5c", "issuer"} {
			set, err := token.ParseKeySet([]byte(forge.JWKS(good, o.With(name, "null"))))
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
	if _, err := token.ParseKeySet([]byte(forge.JWKS(forge.JWK(t, k.Rsa.Public()).With("alg", "null")))); !errors.Is(err, token.ErrKey) || !strings.Contains(err.Error(), "several fit") {
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
		return forge.JWKS(forge.JWK(t, ed25519.PublicKey(b)))
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
// and neither takes a token of the other's key, no matter whom that names as its issuer.
func TestSameKidAtTwoIssuers(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	type party struct {
		issuer string
		signer forge.Signer
		v      *token.Verifier
	}
	var parties []party
	for issuer, key := range map[string]ed25519.PrivateKey{"https://one.example.com": forge.Keys().Ed, "https://two.example.com": private} {
		s := forge.Ed(t, "1", key)
		set := forge.JSON(forge.JWKS(forge.JWK(t, key.Public()).With("kid", `"1"`)))
		keys, err := token.NewRemoteKeySet(t.Context(), issuer+"/jwks.json", token.RemoteKeySetConfig{Transport: &keyServer{h: set}})
		if err != nil {
			t.Fatal(err)
		}
		defer keys.Close()
		parties = append(parties, party{issuer, s, forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Issuer, c.Algorithms, c.Keys = issuer, []token.Algorithm{token.EdDSA}, keys
		})})
	}
	for _, signs := range parties {
		for _, named := range parties {
			raw := signs.signer.Forge(signs.signer.Header(), forge.Claims(time.Now()).With("iss", strconv.Quote(named.issuer)))
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
	k := forge.Keys()
	ed := forge.JWK(f, k.Ed.Public())
	ec := forge.JWK(f, k.Ec.Public()).With("kid", `"ec"`).With("use", `"sig"`)
	rs := forge.JWK(f, k.Rsa.Public()).With("alg", `"RS256"`).With("key_ops", `["verify"]`)
	for _, set := range []string{
		forge.JWKS(ed, ec, rs), forge.JWKS(), forge.JWKS(ed, ed), forge.JWKS(rs.Without("alg")), forge.JWKS(ed.With("d", `"AA"`)), forge.JWKS(forge.Object{"kty", `"oct"`, "k", `"AA"`}),
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
