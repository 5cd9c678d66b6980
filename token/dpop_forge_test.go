package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// This file forges DPoP proofs, good and bad, with crypto/* alone.

const (
	proofBase = "https://api.example.com"
	proofURL  = proofBase + "/orders"
)

// A prover signs DPoP proofs with one key.
type prover struct {
	alg  string
	jwk  forge.Object
	jkt  string
	sign func(input []byte) []byte
}

func edProver(t testing.TB) prover {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := base64.RawURLEncoding.EncodeToString(public)
	return prover{"EdDSA", forge.Object{"kty", `"OKP"`, "crv", `"Ed25519"`, "x", strconv.Quote(x)},
		digest(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`),
		func(in []byte) []byte { return ed25519.Sign(private, in) }}
}

func ecProver(t testing.TB) prover {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	return prover{"ES256", forge.Object{"kty", `"EC"`, "crv", `"P-256"`, "x", strconv.Quote(x), "y", strconv.Quote(y)},
		digest(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`),
		func(in []byte) []byte {
			sum := sha256.Sum256(in)
			r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}}
}

func rsaProver(t testing.TB, alg string) prover {
	t.Helper()
	private := forge.Keys().Rsa
	n := base64.RawURLEncoding.EncodeToString(private.N.Bytes())
	e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(private.E)).Bytes())
	return prover{alg, forge.Object{"kty", `"RSA"`, "n", strconv.Quote(n), "e", strconv.Quote(e)},
		digest(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`),
		func(in []byte) []byte {
			sum := sha256.Sum256(in)
			var signature []byte
			var err error
			if alg == "PS256" {
				signature, err = rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32})
			} else {
				signature, err = rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
			}
			if err != nil {
				t.Fatal(err)
			}
			return signature
		}}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p prover) header() forge.Object {
	return forge.Object{"typ", `"dpop+jwt"`, "alg", strconv.Quote(p.alg), "jwk", p.jwk.String()}
}

// claims are those of a good proof for GET proofURL with the access token raw.
func (p prover) claims(raw string) forge.Object {
	return forge.Object{
		"jti", strconv.Quote(rand.Text()), "htm", `"GET"`, "htu", strconv.Quote(proofURL),
		"iat", strconv.FormatInt(time.Now().Unix(), 10), "ath", strconv.Quote(digest(raw)),
	}
}

func (p prover) forge(header, claims fmt.Stringer) string {
	input := forge.Base64(header.String()) + "." + forge.Base64(claims.String())
	return input + "." + base64.RawURLEncoding.EncodeToString(p.sign([]byte(input)))
}

func (p prover) prove(raw string) string { return p.forge(p.header(), p.claims(raw)) }

func newDPoP(t testing.TB, change func(*token.DPoPConfig)) *token.DPoP {
	t.Helper()
	cfg := token.DPoPConfig{BaseURL: proofBase, Algorithms: []token.Algorithm{token.ES256, token.EdDSA, token.PS256, token.RS256}}
	if change != nil {
		change(&cfg)
	}
	d, err := token.NewDPoP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A boundAPI is a service that takes DPoP, a client with a key, and that key's token.
type boundAPI struct {
	*api
	p   prover
	raw string
}

func newBoundAPI(t testing.TB, change func(*token.DPoPConfig), opts ...token.VerifyOption) *boundAPI {
	t.Helper()
	b := &boundAPI{p: edProver(t)}
	b.api = newAPI(t, func(c *token.VerifierConfig) { c.DPoP = newDPoP(t, change) }, opts...)
	b.raw = b.issueTo(t, b.p.jkt)
	return b
}

func (b *boundAPI) issueTo(t testing.TB, jkt string) string {
	t.Helper()
	r := forge.Request()
	r.Binding.KeyThumbprint = jkt
	return forge.Issue(t, b.issuer, r).Raw()
}

// send sends raw under a scheme with those DPoP headers.
func (b *boundAPI) send(scheme, raw string, proofs ...string) *http.Response {
	r := httptest.NewRequest("GET", "/orders?page=2", nil)
	r.Header.Set("Authorization", scheme+" "+raw)
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	return w.Result()
}

// dpopError returns the error code of the DPoP challenge.
func dpopError(r *http.Response) string {
	for _, c := range r.Header.Values("WWW-Authenticate") {
		if strings.HasPrefix(c, "DPoP ") {
			_, code, _ := strings.Cut(c, `error="`)
			code, _, _ = strings.Cut(code, `"`)
			return code
		}
	}
	return ""
}

var _ slog.LogValuer = token.Sender{}
