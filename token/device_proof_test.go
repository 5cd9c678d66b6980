package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/deviceproof"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

const deviceURL = "https://app.example/session/bound/register"

// A device is a prover that makes proofs of a device-bound session.
type device struct{ prover }

func (d device) header() forge.Object {
	return forge.Object{"alg", strconv.Quote(d.alg), "jwk", d.jwk.String(), "typ", `"dbsc+jwt"`}
}

// later is the header of a proof that is no registration's.
func (d device) later() forge.Object { return d.header().Without("jwk") }

var deviceClaims = forge.Object{"authorization", `"az-1"`, "jti", `"chal-1"`}

// The proof of a registration and those after it, of both kinds of key: each refusal is of a
// proof that differs from an accepted one in one respect.
func TestDeviceProofs(t *testing.T) {
	for _, d := range []device{{ecProver(t)}, {rsaProver(t, "RS256")}} {
		other := device{ecProver(t)}
		first, err := deviceproof.Verify(d.forge(d.header(), deviceClaims), nil, deviceURL)
		if err != nil {
			t.Fatalf("%s: %v", d.alg, err)
		}
		if first.Challenge != "chal-1" || first.Authorization != "az-1" {
			t.Fatalf("%s: read as %+v", d.alg, first)
		}
		if _, err := x509.ParsePKIXPublicKey(first.Key); err != nil {
			t.Fatal(err)
		}
		registered := func(h, c fmt.Stringer) (deviceproof.Proof, error) {
			return deviceproof.Verify(d.forge(h, c), nil, deviceURL)
		}
		refreshed := func(h, c fmt.Stringer) (deviceproof.Proof, error) {
			return deviceproof.Verify(d.forge(h, c), first.Key, deviceURL)
		}
		if p, err := refreshed(d.later(), forge.Object{"jti", `"chal-2"`}); err != nil || p.Challenge != "chal-2" || p.Authorization != "" || !bytes.Equal(p.Key, first.Key) {
			t.Fatalf("%s: %+v, %v", d.alg, p, err)
		}
		for name, header := range map[string]forge.Object{
			"typ in capitals":          d.header().With("typ", `"DBSC+JWT"`),
			"a kid":                    d.header().Plus("kid", `"k"`),
			"jwk for signatures":       d.header().With("jwk", d.jwk.Plus("use", `"sig"`).Plus("alg", strconv.Quote(d.alg)).String()),
			"jwk with an unknown name": d.header().With("jwk", d.jwk.Plus("x-y", `1`).String()),
		} {
			if _, err := registered(header, deviceClaims); err != nil {
				t.Errorf("%s, %s: %v", d.alg, name, err)
			}
		}
		for name, header := range map[string]fmt.Stringer{
			"alg none":              d.header().With("alg", `"none"`),
			"alg HS256":             d.header().With("alg", `"HS256"`),
			"alg of another family": d.header().With("alg", map[string]string{"ES256": `"RS256"`, "RS256": `"ES256"`}[d.alg]),
			"alg PS256":             d.header().With("alg", `"PS256"`),
			"alg ES384":             d.header().With("alg", `"ES384"`),
			"no alg":                d.header().Without("alg"),
			"typ of DPoP":           d.header().With("typ", `"dpop+jwt"`),
			"typ JWT":               d.header().With("typ", `"JWT"`),
			"typ at+jwt":            d.header().With("typ", `"at+jwt"`),
			"no typ":                d.header().Without("typ"),
			"no jwk":                d.header().Without("jwk"),
			"jwk of another":        d.header().With("jwk", other.jwk.String()),
			"two jwks":              d.header().Plus("jwk", d.jwk.String()),
			"jwk is null":           d.header().With("jwk", `null`),
			"jwk is a list":         d.header().With("jwk", "["+d.jwk.String()+"]"),
			"jwk of two spellings":  forge.Text(strings.Replace(d.header().String(), `"jwk":`, `"j\u0077k":`+d.jwk.String()+`,"jwk":`, 1)),
			"jwk with d":            d.header().With("jwk", d.jwk.Plus("d", `"AQAB"`).String()),
			"jwk with an empty d":   d.header().With("jwk", d.jwk.Plus("d", `""`).String()),
			"jwk for encryption":    d.header().With("jwk", d.jwk.Plus("use", `"enc"`).String()),
			"jwk is a secret":       d.header().With("jwk", `{"kty":"oct","k":"AQAB"}`),
			"crit":                  d.header().Plus("crit", `["jwk"]`),
			"b64":                   d.header().Plus("b64", `false`),
			"header is no object":   forge.Text(`[]`),
			"header and more":       forge.Text(d.header().String() + "{}"),
		} {
			if _, err := registered(header, deviceClaims); err == nil {
				t.Errorf("%s, %s: accepted", d.alg, name)
			}
		}
		for name, c := range map[string]struct {
			claims fmt.Stringer
			good   bool
		}{
			"more claims":                {deviceClaims.Plus("iat", `"soon"`).Plus("sub", `1`), true},
			"an empty challenge":         {deviceClaims.With("jti", `""`), true}, // which nobody asked for: the caller compares
			"aud":                        {deviceClaims.Plus("aud", strconv.Quote(deviceURL)), true},
			"aud among others":           {deviceClaims.Plus("aud", `["x",`+strconv.Quote(deviceURL)+`]`), true},
			"aud of another":             {deviceClaims.Plus("aud", `"https://app.example/"`), false},
			"aud of others":              {deviceClaims.Plus("aud", `["x","y"]`), false},
			"aud is empty":               {deviceClaims.Plus("aud", `[]`), false},
			"aud is null":                {deviceClaims.Plus("aud", `null`), false},
			"aud with a number":          {deviceClaims.Plus("aud", `[1,`+strconv.Quote(deviceURL)+`]`), false},
			"no jti":                     {deviceClaims.Without("jti"), false},
			"jti is a number":            {deviceClaims.With("jti", `1`), false},
			"two jtis":                   {deviceClaims.Plus("jti", `"chal-1"`), false},
			"authorization is an object": {deviceClaims.With("authorization", `{}`), false},
			"a challenge that is long":   {deviceClaims.With("jti", strconv.Quote(strings.Repeat("x", 512))), true},
			"a challenge too long":       {deviceClaims.With("jti", strconv.Quote(strings.Repeat("x", 513))), false},
			"no object":                  {forge.Text(`"chal-1"`), false},
			"not UTF-8":                  {forge.Text("{\"jti\":\"\xff\"}"), false},
		} {
			if _, err := registered(d.header(), c.claims); (err == nil) != c.good {
				t.Errorf("%s, %s, at a registration: %v", d.alg, name, err)
			}
			if _, err := refreshed(d.later(), c.claims); (err == nil) != c.good {
				t.Errorf("%s, %s: %v", d.alg, name, err)
			}
		}
		if _, err := refreshed(d.header(), deviceClaims); err == nil {
			t.Errorf("%s: a later proof may bring a key", d.alg)
		}
		if _, err := deviceproof.Verify(other.forge(other.later(), deviceClaims), first.Key, deviceURL); err == nil {
			t.Errorf("%s: another key's proof is accepted", d.alg)
		}
		for _, alg := range []string{"none", "HS256", "PS256", "ES256", "RS256"} {
			if _, err := refreshed(d.later().With("alg", strconv.Quote(alg)), deviceClaims); (err == nil) != (alg == d.alg) {
				t.Errorf("%s, later as %s: %v", d.alg, alg, err)
			}
		}
		if d.alg == "RS256" { // the same key by another scheme
			pss := device{rsaProver(t, "PS256")}
			if _, err := deviceproof.Verify(pss.forge(pss.later(), deviceClaims), first.Key, deviceURL); err == nil {
				t.Error("a proof as PS256 is accepted")
			}
			if _, err := deviceproof.Verify(pss.forge(pss.header(), deviceClaims), nil, deviceURL); err == nil {
				t.Error("a registration as PS256 is accepted")
			}
		}
		for _, key := range [][]byte{{}, []byte("no key"), first.Key[:len(first.Key)-1]} {
			if _, err := deviceproof.Verify(d.forge(d.later(), deviceClaims), key, deviceURL); err == nil {
				t.Errorf("%s: accepted by the key %x", d.alg, key)
			}
		}
		good := d.forge(d.header(), deviceClaims)
		for name, raw := range map[string]string{
			"empty":                  "",
			"quoted":                 `"` + good + `"`,
			"padded":                 good + "=",
			"a line break":           good[:20] + "\n" + good[20:],
			"four segments":          good + ".x",
			"two segments":           good[:strings.LastIndexByte(good, '.')],
			"no signature":           good[:strings.LastIndexByte(good, '.')+1],
			"a shorter signature":    good[:len(good)-4],
			"claims of another":      swapPayload(good, `{"authorization":"az-1","jti":"chal-2"}`),
			"longer than any may be": d.forge(d.header().Plus("x", strconv.Quote(strings.Repeat("x", 4<<10))), deviceClaims),
		} {
			_, err := deviceproof.Verify(raw, nil, deviceURL)
			if err == nil {
				t.Errorf("%s, %s: accepted", d.alg, name)
			} else if strings.Contains(err.Error(), "az-1") || strings.Contains(err.Error(), "chal-") {
				t.Errorf("%s, %s: the error repeats the proof: %v", d.alg, name, err)
			}
		}
	}
}

func swapPayload(raw, payload string) string {
	p := strings.Split(raw, ".")
	return p[0] + "." + forge.Base64(payload) + "." + p[2]
}

// Keys that a browser does not make: on other curves, and too short or too long for RSA.
func TestDeviceKeys(t *testing.T) {
	ec := func(curve elliptic.Curve) device {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		size := (curve.Params().BitSize + 7) / 8
		point, err := private.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		text := func(b []byte) string { return strconv.Quote(base64.RawURLEncoding.EncodeToString(b)) }
		return device{prover{"ES256", forge.Object{"kty", `"EC"`, "crv", strconv.Quote(curve.Params().Name), "x", text(point[1 : 1+size]), "y", text(point[1+size:])}, "",
			func(in []byte) []byte {
				sum := sha256.Sum256(in)
				r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
				if err != nil {
					t.Fatal(err)
				}
				return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
			}}}
	}
	size := func(bits int) device {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		n.SetBit(n, 0, 1)
		d := device{rsaProver(t, "RS256")}
		d.jwk = d.jwk.With("n", strconv.Quote(base64.RawURLEncoding.EncodeToString(n.Bytes())))
		return d
	}
	for name, c := range map[string]struct {
		device
		want string // of the error; empty: none
	}{
		"P-256":    {ec(elliptic.P256()), ""},
		"P-384":    {ec(elliptic.P384()), "no key for the algorithm"},
		"P-521":    {ec(elliptic.P521()), "no key for the algorithm"},
		"RSA 2048": {device{rsaProver(t, "RS256")}, ""},
		"RSA 1024": {size(1024), "fewer than 2048"},
		"RSA 4096": {size(4096), "bad signature"}, // that key is nobody's
		"RSA 4104": {size(4104), "more than 4096 bits"},
	} {
		_, err := deviceproof.Verify(c.forge(c.header(), deviceClaims), nil, deviceURL)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// One spelling of a key.
	d := device{ecProver(t)}
	for _, member := range []string{"x", "y"} {
		for i := 0; i < len(d.jwk); i += 2 {
			if d.jwk[i] != member {
				continue
			}
			padded := d.jwk.With(member, strings.TrimSuffix(d.jwk[i+1], `"`)+`="`)
			if _, err := deviceproof.Verify(d.forge(d.header().With("jwk", padded.String()), deviceClaims), nil, deviceURL); err == nil {
				t.Errorf("%s with padding is accepted", member)
			}
		}
	}
}

// FuzzDeviceProof: what is accepted was signed by the key that is named, and says to a plain
// reader what we read.
func FuzzDeviceProof(f *testing.F) {
	d := device{ecProver(f)}
	first, err := deviceproof.Verify(d.forge(d.header(), deviceClaims), nil, deviceURL)
	if err != nil {
		f.Fatal(err)
	}
	good := d.forge(d.header(), deviceClaims)
	r := device{rsaProver(f, "RS256")}
	for _, raw := range []string{
		good, d.forge(d.later(), deviceClaims), d.forge(d.later(), deviceClaims.Plus("aud", strconv.Quote(deviceURL))), r.forge(r.header(), deviceClaims), r.forge(r.later(), deviceClaims),
		"", ".", "..", "...", good + ".", good[:40], good + "=", d.forge(forge.Text(`{}`), forge.Text(`{}`)), d.forge(d.header(), forge.Text(`{"jti":null}`)),
		d.forge(d.header().With("jwk", `{}`), deviceClaims), d.forge(d.header().With("jwk", `{"kty":"EC","crv":"P-256"}`), deviceClaims), d.forge(d.header().With("alg", `"none"`), deviceClaims),
		d.forge(d.header(), forge.Text(`{"jti":"x","aud":[[]]}`)),
	} {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	f.Fuzz(func(t *testing.T, raw string, registration bool) {
		key := first.Key
		if registration {
			key = nil
		}
		p, err := deviceproof.Verify(raw, key, deviceURL)
		if err != nil {
			if p.Key != nil || p.Challenge != "" || p.Authorization != "" {
				t.Fatalf("%q: refused, and read as %+v", raw, p)
			}
			return
		}
		parts := strings.Split(raw, ".")
		public, err := x509.ParsePKIXPublicKey(p.Key)
		if err != nil || len(parts) != 3 {
			t.Fatalf("%q: %v", raw, err)
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		switch k := public.(type) {
		case *ecdsa.PublicKey:
			if len(signature) != 64 || !ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
				t.Fatalf("%q: accepted without a signature", raw)
			}
		case *rsa.PublicKey:
			if rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], signature) != nil {
				t.Fatalf("%q: accepted without a signature", raw)
			}
		default:
			t.Fatalf("%q: accepted by a %T", raw, public)
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(payload, &plain); err != nil || plain["jti"] != p.Challenge {
			t.Fatalf("%q read as %+v: %v", payload, p, err)
		}
	})
}
