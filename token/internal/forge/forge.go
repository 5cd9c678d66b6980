package forge

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
	Issuer   = "https://auth.example.com"
	Audience = "orders"
)

// An object is a JSON object as alternating names and raw values, in order, so
// that a test can write what no encoder would.
type Object []string

func (o Object) With(name, raw string) Object {
	out := append(Object(nil), o...)
	for i := 0; i < len(out); i += 2 {
		if out[i] == name {
			out[i+1] = raw
			return out
		}
	}
	return append(out, name, raw)
}

// Plus appends a member even if one of that name is there.
func (o Object) Plus(name, raw string) Object {
	return append(append(Object(nil), o...), name, raw)
}

func (o Object) Without(name string) Object {
	var out Object
	for i := 0; i < len(o); i += 2 {
		if o[i] != name {
			out = append(out, o[i], o[i+1])
		}
	}
	return out
}

func (o Object) String() string {
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
type Signer struct {
	Alg  token.Algorithm
	Key  *token.Key
	Sign func(input []byte) []byte
}

func Base64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (s Signer) Header() Object {
	return Object{"alg", strconv.Quote(string(s.Alg)), "typ", `"at+jwt"`, "kid", strconv.Quote(s.Key.ID())}
}

// Forge signs exactly these texts.
func (s Signer) Forge(header, payload fmt.Stringer) string {
	return s.ForgeRaw(Base64(header.String()), Base64(payload.String()))
}

func (s Signer) ForgeRaw(header, payload string) string {
	input := header + "." + payload
	return input + "." + base64.RawURLEncoding.EncodeToString(s.Sign([]byte(input)))
}

type Text string

func (t Text) String() string { return string(t) }

// Claims are the claims of an acceptable token issued at now.
func Claims(now time.Time) Object {
	return Object{
		"iss", strconv.Quote(Issuer),
		"sub", `"sub-secret-0001"`,
		"aud", strconv.Quote(Audience),
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

var Keys = sync.OnceValue(func() (k struct {
	Ed  ed25519.PrivateKey
	Ec  *ecdsa.PrivateKey
	Rsa *rsa.PrivateKey
}) {
	_, k.Ed, _ = ed25519.GenerateKey(rand.Reader)
	k.Ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	k.Rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	return k
})

var Secret = []byte("a secret of thirty-two bytes, ok")

func Ed(t testing.TB, kid string, private ed25519.PrivateKey) Signer {
	t.Helper()
	key, err := token.NewKey(kid, token.EdDSA, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Signer{token.EdDSA, key, func(in []byte) []byte { return ed25519.Sign(private, in) }}
}

func EC(t testing.TB, kid string) Signer {
	t.Helper()
	private := Keys().Ec
	key, err := token.NewKey(kid, token.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Signer{token.ES256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}}
}

// Twin turns the ES256 token raw into its other valid spelling: (r, n−s).
func Twin(t testing.TB, raw string) string {
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

func RS(t testing.TB, kid string) Signer {
	t.Helper()
	key, err := token.NewKey(kid, token.RS256, Keys().Rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Signer{token.RS256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		signature, err := rsa.SignPKCS1v15(nil, Keys().Rsa, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}}
}

func PS(t testing.TB, kid string, salt int) Signer {
	t.Helper()
	key, err := token.NewKey(kid, token.PS256, Keys().Rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Signer{token.PS256, key, func(in []byte) []byte {
		digest := sha256.Sum256(in)
		signature, err := rsa.SignPSS(rand.Reader, Keys().Rsa, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}}
}

func HMAC(t testing.TB, kid string) Signer {
	t.Helper()
	key, err := token.NewSecretKey(kid, token.HS256, Secret)
	if err != nil {
		t.Fatal(err)
	}
	return Signer{token.HS256, key, MAC(Secret)}
}

func MAC(secret []byte) func([]byte) []byte {
	return func(in []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(in)
		return h.Sum(nil)
	}
}

// Claiming returns s signing under another key's name and algorithm.
func (s Signer) Claiming(other Signer) Signer {
	return Signer{other.Alg, other.Key, s.Sign}
}

func StaticKeys(t testing.TB, signers ...Signer) *token.StaticKeySet {
	t.Helper()
	var keys []*token.Key
	for _, s := range signers {
		keys = append(keys, s.Key)
	}
	set, err := token.NewStaticKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// CountedKeys counts look-ups.
type CountedKeys struct {
	token.KeySet
	Lookups atomic.Int64
}

func (c *CountedKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	c.Lookups.Add(1)
	return c.KeySet.Lookup(ctx, kid, alg)
}

// KeySetFunc is a user's own KeySet.
type KeySetFunc func(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error)

func (f KeySetFunc) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	return f(ctx, kid, alg)
}

func Verifier(t testing.TB, change func(*token.VerifierConfig)) *token.Verifier {
	t.Helper()
	cfg := token.VerifierConfig{
		Issuer:                Issuer,
		Audiences:             []string{Audience},
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

// Leaks returns a part of raw, or a claim value of it, that s contains.
//
// What errors name of the verifier's own configuration is no leak, even if a token
// guesses a part of it.
func Leaks(s, raw string) string {
	s = strings.NewReplacer(strconv.Quote(Issuer), "", "["+strconv.Quote(Audience)+"]", "").Replace(s)
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

func NewEd(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func Number(n int64) string { return strconv.FormatInt(n, 10) }

// Tenants of Entra.
const (
	TenantGUID = "11111111-2222-3333-4444-555555555555"
	OtherGUID  = "99999999-2222-3333-4444-555555555555"
)
