package issue_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// privateJWKOf writes a private key as RFC 7518 section 6 and RFC 8037 say, with the
// standard library alone.
func privateJWKOf(key crypto.Signer) map[string]any {
	b := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b(k.Public().(ed25519.PublicKey)), "d": b(k.Seed())}
	case *ecdsa.PrivateKey:
		raw, _ := k.Bytes()
		point, _ := k.PublicKey.Bytes()
		half := len(raw)
		return map[string]any{"kty": "EC", "crv": k.Params().Name, "x": b(point[1 : 1+half]), "y": b(point[1+half:]), "d": b(raw)}
	case *rsa.PrivateKey:
		p := k.Precomputed
		return map[string]any{"kty": "RSA", "n": b(k.N.Bytes()), "e": b(big.NewInt(int64(k.E)).Bytes()), "d": b(k.D.Bytes()), "p": b(k.Primes[0].Bytes()), "q": b(k.Primes[1].Bytes()),
			"dp": b(p.Dp.Bytes()), "dq": b(p.Dq.Bytes()), "qi": b(p.Qinv.Bytes())}
	}
	panic("no such key")
}

func text0(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// with returns a copy of m with some members changed; a nil value removes one.
func with(m map[string]any, changes ...any) string {
	m = maps.Clone(m)
	for i := 0; i < len(changes); i += 2 {
		if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(m, changes[i].(string))
		}
	}
	return text0(m)
}

var importKeys = sync.OnceValue(func() (k struct{ p384, p521 *ecdsa.PrivateKey }) {
	k.p384, _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	k.p521, _ = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	return k
})

// Every form of every kind of key: what comes in signs, and what it signed verifies
// with the public half that went in.
func TestParseSigningKey(t *testing.T) {
	k, more := forge.Keys(), importKeys()
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf("PRIVATE KEY", der, err)
	}
	sec1 := func(key *ecdsa.PrivateKey) string {
		der, err := x509.MarshalECPrivateKey(key)
		return pemOf("EC PRIVATE KEY", der, err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(k.Ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	rsaJWK, edJWK := privateJWKOf(k.Rsa), privateJWKOf(k.Ed)
	for name, x := range map[string]struct {
		data string
		alg  token.Algorithm // asked for
		got  token.Algorithm
		key  crypto.Signer
	}{
		"PKCS 8 Ed25519":             {pkcs8(k.Ed), "", token.EdDSA, k.Ed},
		"PKCS 8 P-256":               {pkcs8(k.Ec), "", token.ES256, k.Ec},
		"PKCS 8 P-384":               {pkcs8(more.p384), "", token.ES384, more.p384},
		"PKCS 8 P-521":               {pkcs8(more.p521), token.ES512, token.ES512, more.p521},
		"PKCS 8 RSA":                 {pkcs8(k.Rsa), token.RS256, token.RS256, k.Rsa},
		"PKCS 8 RSA for PSS":         {pkcs8(k.Rsa), token.PS512, token.PS512, k.Rsa},
		"PKCS 1":                     {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.Rsa), nil), token.RS512, token.RS512, k.Rsa},
		"SEC 1":                      {sec1(k.Ec), "", token.ES256, k.Ec},
		"SEC 1 after its parameters": {"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + sec1(k.Ec), "", token.ES256, k.Ec},
		"beside its public key":      {"# the key\n" + pkcs8(k.Ec) + pemOf("PUBLIC KEY", pkix, nil), "", token.ES256, k.Ec},
		"JWK Ed25519":                {text0(edJWK), "", token.EdDSA, k.Ed},
		"JWK P-256":                  {with(privateJWKOf(k.Ec), "use", "sig", "key_ops", []string{"sign", "verify"}, "x5c", []string{"?"}), "", token.ES256, k.Ec},
		"JWK P-384":                  {text0(privateJWKOf(more.p384)), "", token.ES384, more.p384},
		"JWK P-521":                  {" \n" + text0(privateJWKOf(more.p521)) + "\n", "", token.ES512, more.p521},
		"JWK RSA":                    {with(rsaJWK, "alg", "PS256"), "", token.PS256, k.Rsa},
		"JWK RSA told what it is":    {text0(rsaJWK), token.RS384, token.RS384, k.Rsa},
		"JWK RSA without CRT":        {with(rsaJWK, "dp", nil, "dq", nil, "qi", nil), token.RS256, token.RS256, k.Rsa},
	} {
		key, err := issue.ParseSigningKey("", x.alg, []byte(x.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		public, err := token.NewKey("", x.got, x.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if key.Key().Algorithm() != x.got || key.Key().Thumbprint() != public.Thumbprint() || key.Key().ID() != public.Thumbprint() {
			t.Errorf("%s: %s, want %s", name, key, public)
		}
		set, err := token.NewStaticKeySet(public)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := forge.RingVerifier(t, set, x.got).Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, fixedRing(t, key), nil), forge.Request()).Raw()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, x := range []struct{ given, jwk, want string }{{"mine", "", "mine"}, {"", "theirs", "theirs"}, {"same", "same", "same"}} {
		jwk := text0(edJWK)
		if x.jwk != "" {
			jwk = with(edJWK, "kid", x.jwk)
		}
		if key, err := issue.ParseSigningKey(x.given, "", []byte(jwk)); err != nil || key.Key().ID() != x.want {
			t.Errorf("kid %+v: %v, error %v", x, key, err)
		}
	}
	secret := `{"kty":"oct","kid":"s","alg":"HS256","k":"` + forge.Base64(string(longSecret)) + `"}`
	key, err := issue.ParseSigningKey("", "", []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forge.RingVerifier(t, fixedRing(t, signingSecret(t, "s", token.HS256, longSecret)), token.HS256).Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, fixedRing(t, key), nil), forge.Request()).Raw()); err != nil {
		t.Errorf("oct: %v", err)
	}
}

func TestParseSigningKeyRefuses(t *testing.T) {
	k := forge.Keys()
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf("PRIVATE KEY", der, err)
	}
	good := pkcs8(k.Ed)
	goodDER, _ := x509.MarshalPKCS8PrivateKey(k.Ed)
	pkix, _ := x509.MarshalPKIXPublicKey(k.Ec.Public())
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	otherEC, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, ec, rs := privateJWKOf(k.Ed), privateJWKOf(k.Ec), privateJWKOf(k.Rsa)
	other := privateJWKOf(otherEC)
	public := maps.Clone(ec)
	delete(public, "d")
	for name, x := range map[string]struct {
		data string
		alg  token.Algorithm
		want error
	}{
		"nothing":                   {"", "", token.ErrKey},
		"text":                      {"hunter2", "", token.ErrKey},
		"too long":                  {good + strings.Repeat("\n", 16<<10), "", token.ErrKey},
		"public key":                {pemOf("PUBLIC KEY", pkix, nil), "", token.ErrKey},
		"two keys":                  {good + pkcs8(k.Ec), "", token.ErrKey},
		"encrypted":                 {pemOf("ENCRYPTED PRIVATE KEY", goodDER, nil), "", token.ErrKey},
		"encrypted as OpenSSL did":  {"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", token.RS256, token.ErrKey},
		"OpenSSH":                   {pemOf("OPENSSH PRIVATE KEY", goodDER, nil), "", token.ErrKey},
		"cut short":                 {good[:len(good)-30], "", token.ErrKey},
		"a second one cut short":    {good + good[:60], "", token.ErrKey},
		"not DER":                   {pemOf("PRIVATE KEY", goodDER[1:], nil), "", token.ErrKey},
		"one for another":           {pemOf("EC PRIVATE KEY", goodDER, nil), "", token.ErrKey},
		"key agreement":             {pkcs8(x25519), "", token.ErrKey},
		"P-224":                     {pkcs8(p224), "", token.ErrKey},
		"RSA without an algorithm":  {pkcs8(k.Rsa), "", token.ErrKey},
		"Ed25519 for ES256":         {good, token.ES256, token.ErrKey},
		"Ed25519 for HS256":         {good, token.HS256, token.ErrKey},
		"algorithm none":            {good, "none", token.ErrKey},
		"weak RSA":                  {weakRSA, token.RS256, jose.ErrWeak},
		"JWK without d":             {text0(public), "", token.ErrKey},
		"JWK with another's d":      {with(ec, "d", other["d"]), "", token.ErrKey},
		"JWK with another's x":      {with(ed, "x", forge.Base64(strings.Repeat("x", 32))), "", token.ErrKey},
		"JWK with a short d":        {with(ed, "d", "AAAA"), "", token.ErrKey},
		"JWK with d = 0":            {with(ec, "d", forge.Base64(strings.Repeat("\x00", 32))), "", token.ErrKey},
		"JWK with padding":          {with(ed, "d", ed["d"].(string)+"="), "", token.ErrKey},
		"JWK with a number":         {with(ed, "d", 1), "", token.ErrKey},
		"JWK with two d":            {strings.Replace(text0(ed), `"d":`, `"d":"AAAA","d":`, 1), "", token.ErrKey},
		"JWK with data after":       {text0(ed) + "{}", "", token.ErrKey},
		"JWK set":                   {`{"keys":[` + text0(ed) + `]}`, "", token.ErrKey},
		"JWK for encryption":        {with(ed, "use", "enc"), "", token.ErrKey},
		"JWK for verifying":         {with(ed, "key_ops", []string{"verify"}), "", token.ErrKey},
		"JWK with another kid":      {with(ed, "kid", "other"), "", token.ErrKey},
		"JWK for another algorithm": {with(ed, "alg", "ES256"), token.EdDSA, token.ErrKey},
		"JWK of no algorithm":       {with(ed, "alg", "none"), "", token.ErrKey},
		"JWK RSA without p":         {with(rs, "p", nil), token.RS256, token.ErrKey},
		"JWK RSA with p = 1":        {with(rs, "p", "AQ"), token.RS256, token.ErrKey},
		"JWK RSA with p and q = p":  {with(rs, "q", rs["p"]), token.RS256, token.ErrKey},
		"JWK RSA with another d":    {with(rs, "d", rs["p"]), token.RS256, token.ErrKey},
		"JWK RSA with another dp":   {with(rs, "dp", rs["dq"]), token.RS256, token.ErrKey},
		"JWK RSA with three primes": {with(rs, "oth", []string{}), token.RS256, token.ErrKey},
		"JWK RSA, small":            {with(rs, "n", "AQAB"), token.RS256, jose.ErrWeak},
		"JWK oct, weak":             {`{"kty":"oct","alg":"HS256","k":"AAAA"}`, "", jose.ErrWeak},
		"JWK oct, empty":            {`{"kty":"oct","alg":"HS256","k":""}`, "", token.ErrKey},
		"JWK oct without alg":       {`{"kty":"oct","k":"` + forge.Base64(string(longSecret)) + `"}`, "", token.ErrKey},
		"JWK oct for EdDSA":         {`{"kty":"oct","k":"` + forge.Base64(string(longSecret)) + `"}`, token.EdDSA, token.ErrKey},
		"JWK of unknown kty":        {`{"kty":"AKP"}`, token.EdDSA, token.ErrKey},
	} {
		key, err := issue.ParseSigningKey("mine", x.alg, []byte(x.data))
		if key != nil || !errors.Is(err, x.want) || !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: error %v, want %v", name, err, x.want)
		} else if leak := forge.Leaks(err.Error(), x.data); leak != "" && len(x.data) > 40 {
			t.Errorf("%s: error %q repeats %q (invariant 10)", name, err, leak)
		}
	}
	if _, err := issue.ParseSigningKey("", "", []byte(`{"kty":"oct","alg":"HS256","k":"`+forge.Base64(string(longSecret))+`"}`)); !errors.Is(err, token.ErrKey) {
		t.Errorf("a secret without kid: error %v", err)
	}
}

// weakRSA is a PKCS #1 key of 1024 bits, made for this test.
var weakRSA = func() string {
	p, _ := new(big.Int).SetString("12131072439211271897323671531612440428472427633701410925634549312301964373042085619324197365322416866541017057361365214171711713797974299334871062829803541", 10)
	q, _ := new(big.Int).SetString("12027524255478748885956220793734512128733387803682075433653899983955179850988797899869146900809131611153346817050832096022160146366346391812470987105415233", 10)
	one, e := big.NewInt(1), big.NewInt(65537)
	phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: []*big.Int{p, q}}
	return pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
}()

func TestNewSigningKeyRefuses(t *testing.T) {
	k := forge.Keys()
	halves := *k.Ec
	halves.PublicKey = importKeys().p384.PublicKey
	mixed := *k.Ec
	otherEC, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	mixed.PublicKey = otherEC.PublicKey
	stitched := append(slices.Clone(k.Ed[:32]), make([]byte, 32)...)
	noPrimes := *k.Rsa
	noPrimes.Primes = nil
	type signer = crypto.Signer
	for name, x := range map[string]struct {
		kid string
		alg token.Algorithm
		key signer
	}{
		"nil":                      {"", token.EdDSA, nil},
		"long kid":                 {strings.Repeat("k", 2000), token.EdDSA, k.Ed},
		"kid of bad UTF-8":         {"\xff", token.EdDSA, k.Ed},
		"HS256":                    {"", token.HS256, k.Ed},
		"none":                     {"", "none", k.Ed},
		"wrong kind":               {"", token.RS256, k.Ed},
		"wrong curve":              {"", token.ES384, k.Ec},
		"short Ed25519":            {"", token.EdDSA, k.Ed[:32]},
		"no Ed25519":               {"", token.EdDSA, ed25519.PrivateKey(nil)},
		"halves of two Ed25519":    {"", token.EdDSA, ed25519.PrivateKey(stitched)},
		"no EC":                    {"", token.ES256, (*ecdsa.PrivateKey)(nil)},
		"empty EC":                 {"", token.ES256, new(ecdsa.PrivateKey)},
		"halves of two EC":         {"", token.ES256, &mixed},
		"halves of two curves":     {"", token.ES384, &halves},
		"no RSA":                   {"", token.RS256, (*rsa.PrivateKey)(nil)},
		"empty RSA":                {"", token.RS256, new(rsa.PrivateKey)},
		"RSA without primes":       {"", token.RS256, &noPrimes},
		"several algorithms":       {"", "", k.Rsa},
		"KMS, wrong kind":          {"", token.RS256, &kms{key: k.Ed}},
		"KMS, several algorithms":  {"", "", &kms{key: k.Rsa}},
		"KMS without a public key": {"", token.ES256, mute{}},
	} {
		for _, alg := range []token.Algorithm{x.alg, ""} {
			if alg == "" && x.alg != "" && x.key != nil && !strings.Contains(name, "no ") && !strings.Contains(name, "short") && !strings.Contains(name, "empty") {
				continue // another key than what is meant would be good
			}
			if key, err := issue.NewSigningKey(x.kid, alg, x.key); key != nil || !errors.Is(err, token.ErrKey) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
	for _, x := range []struct {
		alg token.Algorithm
		key signer
	}{{"", k.Ed}, {"", k.Ec}, {token.PS256, k.Rsa}, {"", &kms{key: k.Ed}}} {
		if _, err := issue.NewSigningKey("k", x.alg, x.key); err != nil {
			t.Errorf("the good twin is refused: %v", err)
		}
	}
	if key, err := issue.NewSigningSecret("", token.HS256, longSecret); key != nil || !errors.Is(err, token.ErrKey) {
		t.Errorf("a secret without kid: error %v", err)
	}
	if key, err := issue.NewSigningSecret("s", token.HS512, longSecret[:63]); key != nil || !errors.Is(err, jose.ErrWeak) || !errors.Is(err, token.ErrKey) {
		t.Errorf("a short secret: error %v", err)
	}
}

type mute struct{ crypto.Signer }

func (mute) Public() crypto.PublicKey { return nil }

// FuzzParseSigningKey: what is read signs, and what is not is an error that repeats
// nothing.
func FuzzParseSigningKey(f *testing.F) {
	k := forge.Keys()
	for _, key := range []crypto.Signer{k.Ed, k.Ec, k.Rsa} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		f.Add([]byte(pemOf("PRIVATE KEY", der, err)))
		f.Add([]byte(with(privateJWKOf(key), "alg", "RS256")))
		f.Add([]byte(text0(privateJWKOf(key))))
	}
	der, err := x509.MarshalECPrivateKey(k.Ec)
	f.Add([]byte(pemOf("EC PRIVATE KEY", der, err)))
	f.Add([]byte(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.Rsa), nil)))
	f.Add([]byte(`{"kty":"oct","kid":"s","alg":"HS256","k":"` + forge.Base64(string(longSecret)) + `"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := issue.ParseSigningKey("", "", data)
		if err != nil {
			if key != nil || !errors.Is(err, token.ErrKey) {
				t.Fatalf("%v beside error %v", key, err)
			}
			for i := 0; i+24 <= len(data); i++ {
				if strings.Contains(err.Error(), string(data[i:i+24])) {
					t.Fatalf("error %q repeats the input (invariant 10)", err)
				}
			}
			return
		}
		ring, err := issue.NewKeyring(issue.KeyringConfig{}, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := forge.RingVerifier(t, ring, key.Key().Algorithm()).Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request()).Raw()); err != nil {
			t.Fatal(err)
		}
	})
}
