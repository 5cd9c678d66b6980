package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

var b64 = base64.RawURLEncoding.EncodeToString

// jwkOf writes the members of a JWK by hand.
func jwkOf(t testing.TB, public crypto.PublicKey) jose.JWK {
	t.Helper()
	switch k := public.(type) {
	case ed25519.PublicKey:
		return jose.JWK{Kty: "OKP", Crv: "Ed25519", X: b64(k)}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return jose.JWK{Kty: "EC", Crv: k.Params().Name, X: b64(point[1 : 1+half]), Y: b64(point[1+half:])}
	case *rsa.PublicKey:
		return jose.JWK{Kty: "RSA", N: b64(k.N.Bytes()), E: b64(big.NewInt(int64(k.E)).Bytes())}
	}
	t.Fatalf("no JWK of a %T", public)
	return jose.JWK{}
}

func thumbprint(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	j := jwkOf(t, public)
	var text string
	switch j.Kty {
	case "OKP":
		text = fmt.Sprintf(`{"crv":"%s","kty":"OKP","x":"%s"}`, j.Crv, j.X)
	case "EC":
		text = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, j.Crv, j.X, j.Y)
	case "RSA":
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, j.E, j.N)
	}
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

func TestJWKPublic(t *testing.T) {
	for _, alg := range []string{"EdDSA", "ES256", "ES384", "ES512", "RS256"} {
		public := newSigner(t, alg).Public()
		got, err := jwkOf(t, public).Public()
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
			t.Errorf("%s: another key came out", alg)
		}
	}
}

// One spelling of each key: jwx accepts padding, the standard alphabet and numbers
// of any length.
func TestJWKPublicRefuses(t *testing.T) {
	ed := jwkOf(t, newSigner(t, "EdDSA").Public())
	ec := jwkOf(t, newSigner(t, "ES256").Public())
	rs := jwkOf(t, newSigner(t, "RS256").Public())
	for name, x := range map[string]struct {
		good   jose.JWK
		change func(*jose.JWK)
	}{
		"padding":             {ed, func(j *jose.JWK) { j.X += "=" }},
		"newline":             {ed, func(j *jose.JWK) { j.X = j.X[:9] + "\n" + j.X[9:] }},
		"quote":               {ed, func(j *jose.JWK) { j.X = `","kty":"oct","k":"AAAA` }},
		"stray bits":          {ed, func(j *jose.JWK) { j.X = j.X[:42] + "B" }},
		"one byte less":       {ed, func(j *jose.JWK) { j.X = b64(make([]byte, 31)) }},
		"no x":                {ed, func(j *jose.JWK) { j.X = "" }},
		"crv of X25519":       {ed, func(j *jose.JWK) { j.Crv = "X25519" }},
		"unknown kty":         {ed, func(j *jose.JWK) { j.Kty = "oct" }},
		"kty without crv":     {ed, func(j *jose.JWK) { j.Crv = "" }},
		"no y":                {ec, func(j *jose.JWK) { j.Y = "" }},
		"a longer coordinate": {ec, func(j *jose.JWK) { j.X = b64(append([]byte{0}, decode(j.X)...)) }},
		"wrong curve":         {ec, func(j *jose.JWK) { j.Crv = "P-384" }},
		"secp256k1":           {ec, func(j *jose.JWK) { j.Crv = "secp256k1" }},
		"leading zero":        {rs, func(j *jose.JWK) { j.N = b64(append([]byte{0}, decode(j.N)...)) }},
		"leading zero of e":   {rs, func(j *jose.JWK) { j.E = "AAEAAQ" }},
		"huge e":              {rs, func(j *jose.JWK) { j.E = j.N }},
		"no e":                {rs, func(j *jose.JWK) { j.E = "" }},
		"huge n":              {rs, func(j *jose.JWK) { j.N = b64(make([]byte, 1<<16)) }},
	} {
		if _, err := x.good.Public(); err != nil {
			t.Errorf("%s: the good twin is refused: %v", name, err)
		}
		x.change(&x.good)
		if key, err := x.good.Public(); !errors.Is(err, jose.ErrKey) {
			t.Errorf("%s: key %v, error %v", name, key, err)
		}
	}
}

// A point that is not on its curve gets through the JWK and is stopped by the check.
func TestOffCurve(t *testing.T) {
	j := jwkOf(t, newSigner(t, "ES256").Public())
	y := decode(j.Y)
	y[31] ^= 1
	j.Y = b64(y)
	public, err := j.Public()
	if err == nil {
		_, err = jose.CheckPublic("ES256", public)
	}
	if !errors.Is(err, jose.ErrWeak) && !errors.Is(err, jose.ErrKey) {
		t.Errorf("error %v", err)
	}
}

func decode(s string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
