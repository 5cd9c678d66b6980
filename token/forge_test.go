package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// This file forges tokens, good and bad, with crypto/* alone: what is tested does
// not make its own test data.

const (
	forgedIssuer   = "https://auth.example.com"
	forgedAudience = "orders"
)

// An object is a JSON object as alternating names and raw values, in order, so
// that a test can write what no encoder would.
type object []string

func (o object) with(name, raw string) object {
	out := append(object(nil), o...)
	for i := 0; i < len(out); i += 2 {
		if out[i] == name {
			out[i+1] = raw
			return out
		}
	}
	return append(out, name, raw)
}

// plus appends a member even if one of that name is there.
func (o object) plus(name, raw string) object {
	return append(append(object(nil), o...), name, raw)
}

func (o object) without(name string) object {
	var out object
	for i := 0; i < len(o); i += 2 {
		if o[i] != name {
			out = append(out, o[i], o[i+1])
		}
	}
	return out
}

func (o object) String() string {
	var b strings.Builder
	for i := 0; i < len(o); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", strconv.Quote(o[i]), o[i+1])
	}
	return "{" + b.String() + "}"
}

// A signer is a key that forges; its verifying half is key.
type signer struct {
	alg  token.Algorithm
	key  *token.Key
	sign func(input []byte) []byte
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (s signer) header() object {
	return object{"alg", strconv.Quote(string(s.alg)), "typ", `"at+jwt"`, "kid", strconv.Quote(s.key.ID())}
}

// forge signs exactly these texts.
func (s signer) forge(header, payload fmt.Stringer) string {
	return s.forgeRaw(b64(header.String()), b64(payload.String()))
}

func (s signer) forgeRaw(header, payload string) string {
	input := header + "." + payload
	return input + "." + base64.RawURLEncoding.EncodeToString(s.sign([]byte(input)))
}

type text string

func (t text) String() string { return string(t) }

// goodClaims are the claims of an acceptable token issued at now.
func goodClaims(now time.Time) object {
	return object{
		"iss", strconv.Quote(forgedIssuer),
		"sub", `"sub-secret-0001"`,
		"aud", strconv.Quote(forgedAudience),
		"client_id", `"client-secret-0002"`,
		"jti", `"jti-secret-0003"`,
		"sid", `"sid-secret-0004"`,
		"tenant", `"tenant-secret-0005"`,
		"iat", strconv.FormatInt(now.Unix(), 10),
		"nbf", strconv.FormatInt(now.Unix(), 10),
		"exp", strconv.FormatInt(now.Add(15*time.Minute).Unix(), 10),
		"scope", `"orders:read orders:write"`,
	}
}

var forgeKeys = sync.OnceValue(func() (k struct {
	ed  ed25519.PrivateKey
	ec  *ecdsa.PrivateKey
	rsa *rsa.PrivateKey
}) {
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	return k
})

var forgeSecret = []byte("a secret of thirty-two bytes, ok")

func edSigner(t testing.TB, kid string, private ed25519.PrivateKey) signer {
	t.Helper()
	key, err := token.NewKey(kid, token.EdDSA, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{token.EdDSA, key, func(in []byte) []byte { return ed25519.Sign(private, in) }}
}

func ecSigner(t testing.TB, kid string) signer {
	t.Helper()
	private := forgeKeys().ec
	key, err := token.NewKey(kid, token.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{token.ES256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}}
}

// ecTwin turns the ES256 token raw into its other valid spelling: (r, n−s).
func ecTwin(t testing.TB, raw string) string {
	t.Helper()
	i := strings.LastIndexByte(raw, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(raw[i:])
	if err != nil || len(signature) != 64 {
		t.Fatal("not an ES256 signature")
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return raw[:i] + base64.RawURLEncoding.EncodeToString(signature)
}

func rsSigner(t testing.TB, kid string) signer {
	t.Helper()
	key, err := token.NewKey(kid, token.RS256, forgeKeys().rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{token.RS256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		signature, err := rsa.SignPKCS1v15(nil, forgeKeys().rsa, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}}
}

func psSigner(t testing.TB, kid string, salt int) signer {
	t.Helper()
	key, err := token.NewKey(kid, token.PS256, forgeKeys().rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{token.PS256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		signature, err := rsa.SignPSS(rand.Reader, forgeKeys().rsa, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}}
}

func hmacSigner(t testing.TB, kid string) signer {
	t.Helper()
	key, err := token.NewSecretKey(kid, token.HS256, forgeSecret)
	if err != nil {
		t.Fatal(err)
	}
	return signer{token.HS256, key, mac(forgeSecret)}
}

func mac(secret []byte) func([]byte) []byte {
	return func(in []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(in)
		return h.Sum(nil)
	}
}

// claiming returns s signing under another key's name and algorithm.
func (s signer) claiming(other signer) signer {
	return signer{other.alg, other.key, s.sign}
}

func staticKeys(t testing.TB, signers ...signer) *token.StaticKeySet {
	t.Helper()
	var keys []*token.Key
	for _, s := range signers {
		keys = append(keys, s.key)
	}
	set, err := token.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// countedKeys counts look-ups.
type countedKeys struct {
	token.KeySet
	lookups atomic.Int64
}

func (c *countedKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	c.lookups.Add(1)
	return c.KeySet.Lookup(ctx, kid, alg)
}

// keySetFunc is a user's own KeySet.
type keySetFunc func(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error)

func (f keySetFunc) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	return f(ctx, kid, alg)
}

func forgedVerifier(t testing.TB, change func(*token.VerifierConfig)) *token.Verifier {
	t.Helper()
	cfg := token.VerifierConfig{
		Issuer:                forgedIssuer,
		Audiences:             []string{forgedAudience},
		InsecureNoRevocations: true,
		Leeway:                time.Minute,
		MaxLifetime:           time.Hour,
	}
	change(&cfg)
	v, err := token.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// leaks returns a part of raw, or a claim value of it, that s contains.
//
// What errors name of the verifier's own configuration is no leak, even if a token
// guesses a part of it.
func leaks(s, raw string) string {
	s = strings.NewReplacer(strconv.Quote(forgedIssuer), "", "["+strconv.Quote(forgedAudience)+"]", "").Replace(s)
	const window = 12
	for i := 0; i+window <= len(raw) && i < 1<<16; i++ {
		if strings.Contains(s, raw[i:i+window]) {
			return raw[i : i+window]
		}
	}
	for _, part := range strings.Split(raw, ".") {
		decoded, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			continue
		}
		var members map[string]any
		if json.Unmarshal(decoded, &members) != nil {
			continue
		}
		for name, v := range members {
			if v, ok := v.(string); ok && len(v) > 3 && name != "typ" && name != "alg" && strings.Contains(s, v) {
				return v
			}
		}
	}
	return ""
}
