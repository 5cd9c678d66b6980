package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

func TestNewKey(t *testing.T) {
	k := forge.Keys()
	for alg, public := range map[token.Algorithm]crypto.PublicKey{
		token.EdDSA: k.Ed.Public(), token.ES256: k.Ec.Public(), token.RS512: k.Rsa.Public(), token.PS256: k.Rsa.Public(),
	} {
		key, err := token.NewKey("a", alg, public)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if key.ID() != "a" || key.Algorithm() != alg || len(key.Thumbprint()) != 43 {
			t.Errorf("%s: %v", alg, key)
		}
		if key, err = token.NewKey("", alg, public); err != nil || key.ID() != key.Thumbprint() {
			t.Errorf("%s without kid: %v, error %v", alg, key, err)
		}
	}
	// RFC 8037 appendix A.3, by hand.
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(k.Ed.Public().(ed25519.PublicKey)) + `"}`))
	key, _ := token.NewKey("", token.EdDSA, k.Ed.Public())
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); key.Thumbprint() != want {
		t.Errorf("thumbprint %s, want %s", key.Thumbprint(), want)
	}
}

// An EC coordinate keeps its zeros in front (RFC 7518 section 6.2.1.2): without the one here
// the thumbprint would be another, and a revocation of the key, made elsewhere, would end nothing.
// Seven other libraries say this one; findings/thumbprints.sh has two that do not.
func TestThumbprintOfCoordinateWithZero(t *testing.T) {
	point, err := hex.DecodeString("04" + "00a33cb2777d1a8f1b42197aa102453b5780c4340ac2575123da70c81b2c5794" + "f121288e4d2f54017fec88326122f4e96eb95b56fc04f4cbad44ba2a951488a3")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey("", token.ES256, public)
	if err != nil {
		t.Fatal(err)
	}
	const want = "zQw1YhjQdz9NR3uLYWKe9TLxZv27PG6gyBlgUpDxn9s"
	if key.Thumbprint() != want || key.ID() != want {
		t.Errorf("thumbprint %s, kid %s, want %s", key.Thumbprint(), key.ID(), want)
	}
}

func TestNewKeyRefuses(t *testing.T) {
	k := forge.Keys()
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	small := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).Rsh(k.Rsa.N, 1024), 0, 1), E: 65537}
	for _, x := range []struct {
		name   string
		kid    string
		alg    token.Algorithm
		public crypto.PublicKey
		want   error
	}{
		{"good", "a", token.EdDSA, k.Ed.Public(), nil},
		{"a long kid", strings.Repeat("k", 512), token.EdDSA, k.Ed.Public(), nil},
		{"a longer kid", strings.Repeat("k", 513), token.EdDSA, k.Ed.Public(), token.ErrKey},
		{"kid of bad UTF-8", "\xff", token.EdDSA, k.Ed.Public(), token.ErrKey},
		{"alg none", "a", "none", k.Ed.Public(), token.ErrKey},
		{"alg in another case", "a", "eddsa", k.Ed.Public(), token.ErrKey},
		{"no alg", "a", "", k.Ed.Public(), token.ErrKey},
		{"alg of secrets", "a", token.HS256, k.Ed.Public(), token.ErrKey},
		{"private Ed25519", "a", token.EdDSA, k.Ed, token.ErrKey},
		{"private EC", "a", token.ES256, k.Ec, token.ErrKey},
		{"private RSA", "a", token.RS256, k.Rsa, token.ErrKey},
		{"wrong curve", "a", token.ES256, p384.Public(), token.ErrKey},
		{"wrong kind", "a", token.RS256, k.Ec.Public(), token.ErrKey},
		{"small RSA", "a", token.RS256, small, token.ErrWeakKey},
		{"e = 1", "a", token.RS256, &rsa.PublicKey{N: k.Rsa.N, E: 1}, token.ErrWeakKey},
		{"zero Ed25519", "a", token.EdDSA, ed25519.PublicKey(make([]byte, 32)), token.ErrWeakKey},
		{"bytes", "a", token.EdDSA, []byte(k.Ed.Public().(ed25519.PublicKey)), token.ErrKey},
		{"nil", "a", token.EdDSA, nil, token.ErrKey},
	} {
		key, err := token.NewKey(x.kid, x.alg, x.public)
		if !errors.Is(err, x.want) || (key == nil) == (err == nil) || err != nil && !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: key %v, error %v, want %v", x.name, key, err, x.want)
		}
	}
}

// A verifier that takes a published key for an HMAC secret accepts tokens from
// everybody: CVE-2015-9235, 2017-11424, 2022-29217, 2023-48223, 2024-33663, 2026-48526.
func TestNewSecretKeyRefusesPublicKeys(t *testing.T) {
	k := forge.Keys()
	pkix, _ := x509.MarshalPKIXPublicKey(k.Rsa.Public())
	pkcs1 := x509.MarshalPKCS1PublicKey(&k.Rsa.PublicKey)
	edDER, _ := x509.MarshalPKIXPublicKey(k.Ed.Public())
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	jwk, _ := json.Marshal(map[string]string{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(k.Ed.Public().(ed25519.PublicKey))})
	blob := "\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + string(k.Ed.Public().(ed25519.PublicKey))
	for name, secret := range map[string]string{
		"PEM":                     block("PUBLIC KEY", pkix),
		"PEM of PKCS 1":           block("RSA PUBLIC KEY", pkcs1),
		"PEM after a newline":     "\n " + block("PUBLIC KEY", pkix),
		"PEM after text":          "the key:\n" + block("PUBLIC KEY", edDER),
		"PEM certificate":         block("CERTIFICATE", pkix),
		"PEM private key":         block("PRIVATE KEY", pkix),
		"body of a PEM":           base64.StdEncoding.EncodeToString(pkix),
		"DER":                     string(pkix),
		"DER of PKCS 1":           string(pkcs1),
		"DER of Ed25519":          string(edDER),
		"JWK":                     string(jwk),
		"JWK with space":          "\t" + string(jwk) + "\n",
		"JWK set":                 `{"keys":[` + string(jwk) + `]}`,
		"authorized_keys":         "ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte(blob)) + " me@example.com",
		"authorized_keys of RSA":  "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ me@example.com",
		"authorized_keys of EC":   "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI",
		"authorized_keys options": `no-pty ssh-ed25519 ` + base64.StdEncoding.EncodeToString([]byte(blob)),
		"SSH blob":                base64.StdEncoding.EncodeToString([]byte(blob)),
	} {
		if key, err := token.NewSecretKey("a", token.HS256, []byte(secret)); key != nil || !errors.Is(err, token.ErrKey) || errors.Is(err, token.ErrWeakKey) {
			t.Errorf("%s: key %v, error %v", name, key, err)
		} else if leak := forge.Leaks(err.Error(), secret); leak != "" {
			t.Errorf("%s: error %q repeats the secret (invariant 10)", name, err)
		}
	}
	random := make([]byte, 64)
	rand.Read(random)
	for _, secret := range [][]byte{random, []byte(base64.StdEncoding.EncodeToString(random)), forge.Secret} {
		if _, err := token.NewSecretKey("a", token.HS256, secret); err != nil {
			t.Errorf("a good secret is refused: %v", err)
		}
		// RFC 7638 section 7: no name in a token's header is made from a secret.
		if key, err := token.NewSecretKey("", token.HS256, secret); key != nil || !errors.Is(err, token.ErrKey) {
			t.Errorf("a secret without kid: error %v", err)
		}
	}
	for alg, size := range map[token.Algorithm]int{token.HS256: 32, token.HS384: 48, token.HS512: 64} {
		if _, err := token.NewSecretKey("a", alg, random[:size-1]); !errors.Is(err, token.ErrWeakKey) {
			t.Errorf("%s with %d bytes: error %v", alg, size-1, err)
		}
		if _, err := token.NewSecretKey("a", alg, random[:size]); err != nil {
			t.Errorf("%s with %d bytes: %v", alg, size, err)
		}
	}
	for _, secret := range [][]byte{nil, {}, make([]byte, 64)} { // CVE-2019-20933, CVE-2026-44699
		if _, err := token.NewSecretKey("a", token.HS256, secret); !errors.Is(err, token.ErrWeakKey) {
			t.Errorf("%d zero bytes: error %v", len(secret), err)
		}
	}
	if _, err := token.NewSecretKey("a", token.EdDSA, random); !errors.Is(err, token.ErrKey) {
		t.Errorf("a secret for EdDSA: error %v", err)
	}
}
