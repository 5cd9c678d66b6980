package issue_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func fixedRing(t testing.TB, active *issue.SigningKey, others ...*token.Key) *issue.Keyring {
	t.Helper()
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, active, others...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func signingSecret(t testing.TB, kid string, alg token.Algorithm, secret []byte) *issue.SigningKey {
	t.Helper()
	k, err := issue.NewSigningSecret(kid, alg, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var longSecret = []byte("64 bytes, as random as prose can be, and no hash of anything here")

// A ring of secrets issues and verifies, and serves nothing to anybody: jwx v2
// publishes HMAC secrets in public sets.
func TestKeyringOfSecrets(t *testing.T) {
	for _, alg := range []token.Algorithm{token.HS256, token.HS384, token.HS512} {
		old, err := token.NewSecretKey("old", alg, append([]byte("old "), longSecret...))
		if err != nil {
			t.Fatal(err)
		}
		ring := fixedRing(t, signingSecret(t, "new", alg, longSecret), old)
		issued := forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request())
		if want := `{"alg":"` + string(alg) + `","typ":"at+jwt","kid":"new"}`; forge.HeaderOf(t, issued.Raw()) != want {
			t.Errorf("header %s, want %s", forge.HeaderOf(t, issued.Raw()), want)
		}
		if _, err := forge.RingVerifier(t, ring, alg).Verify(t.Context(), issued.Raw()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		before := forge.Issue(t, forge.NewIssuer(t, fixedRing(t, signingSecret(t, "old", alg, append([]byte("old "), longSecret...))), nil), forge.Request())
		if _, err := forge.RingVerifier(t, ring, alg).Verify(t.Context(), before.Raw()); err != nil {
			t.Errorf("%s: the old secret: %v", alg, err)
		}
		wrong := forge.Issue(t, forge.NewIssuer(t, fixedRing(t, signingSecret(t, "new", alg, append([]byte("x"), longSecret...))), nil), forge.Request())
		if _, err := forge.RingVerifier(t, ring, alg).Verify(t.Context(), wrong.Raw()); token.Cause(err) != "signature" {
			t.Errorf("%s: another secret: error %v", alg, err)
		}
		for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
			r := forge.Serve(t, ring, method, nil)
			if got := forge.Body(t, r); r.StatusCode != http.StatusNotFound || got != "" || r.Header.Get("ETag") != "" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %v %q", alg, method, r.StatusCode, r.Header, got)
			}
		}
		if _, err := ring.Rotate(t.Context()); !errors.Is(err, token.ErrKey) {
			t.Errorf("rotate: error %v", err)
		}
		if err := ring.Remove(t.Context(), "old"); !errors.Is(err, token.ErrKey) {
			t.Errorf("remove: error %v", err)
		}
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	}
}

// RFC 7638 section 7: a secret's name is no hash of it, and stands nowhere but in
// events; they work all the same.
func TestNameOfASecret(t *testing.T) {
	key, err := token.NewSecretKey("kid", token.HS256, longSecret)
	if err != nil {
		t.Fatal(err)
	}
	plain := sha256.Sum256(longSecret)
	jwk := sha256.Sum256([]byte(`{"k":"` + base64.RawURLEncoding.EncodeToString(longSecret) + `","kty":"oct"}`))
	mac := hmac.New(sha256.New, longSecret)
	for _, sum := range [][]byte{plain[:], jwk[:], mac.Sum(nil)} {
		if key.Thumbprint() == base64.RawURLEncoding.EncodeToString(sum) {
			t.Error("the name is a hash of the secret")
		}
	}
	same, err := token.NewSecretKey("other kid", token.HS512, longSecret)
	if err != nil || same.Thumbprint() != key.Thumbprint() {
		t.Errorf("one secret has two names, error %v", err)
	}
	other, err := token.NewSecretKey("kid", token.HS256, longSecret[1:])
	if err != nil || other.Thumbprint() == key.Thumbprint() {
		t.Errorf("two secrets have one name, error %v", err)
	}
	for name, text := range printed(key) {
		if strings.Contains(text, key.Thumbprint()) && name != "%d" { // which no text of ours comes from
			t.Errorf("%s: %s", name, text)
		}
	}

	ring := fixedRing(t, signingSecret(t, "kid", token.HS256, longSecret))
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.HS256}, ring, list, false
	})
	issued := forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request())
	if _, err := v.Verify(t.Context(), issued.Raw()); err != nil {
		t.Fatal(err)
	}
	e := key.Revocation()
	e.Issuer = forge.Issuer
	forge.Apply(t, list, e)
	if _, err := v.Verify(t.Context(), issued.Raw()); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("revoked secret: error %v", err)
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	k := forge.Keys()
	active, err := issue.NewSigningKey("a", token.EdDSA, k.Ed)
	if err != nil {
		t.Fatal(err)
	}
	secret := forge.HMAC(t, "s").Key
	twin, other := forge.Ed(t, "a", k.Ed).Key, forge.EC(t, "b").Key
	for name, x := range map[string]struct {
		active *issue.SigningKey
		others []*token.Key
		good   bool
	}{
		"alone":                  {active, nil, true},
		"beside another":         {active, []*token.Key{other}, true},
		"no active key":          {nil, nil, false},
		"an empty one":           {&issue.SigningKey{}, nil, false},
		"one kid twice":          {active, []*token.Key{twin}, false},
		"nil":                    {active, []*token.Key{nil}, false},
		"empty":                  {active, []*token.Key{{}}, false},
		"a secret beside it":     {active, []*token.Key{secret}, false},
		"a secret and a public":  {signingSecret(t, "x", token.HS256, longSecret), []*token.Key{other}, false},
		"a hundred and one more": {active, manyKeys(t, 100), false},
	} {
		ring, err := issue.NewKeyring(issue.KeyringConfig{}, x.active, x.others...)
		if (err == nil) != x.good || (ring == nil) == x.good || err != nil && !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := issue.NewKeyring(issue.KeyringConfig{MaxAge: -1}, active); err == nil || !strings.Contains(err.Error(), "KeyringConfig.MaxAge ") {
		t.Errorf("MaxAge: error %v", err)
	}
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": false, forge.Issuer: true} { // Revocations name keys by issuer
		ring, err := issue.NewKeyring(issue.KeyringConfig{Issuer: name, Revocations: list}, active)
		if (err == nil) != want || (ring == nil) == want || err != nil && !strings.Contains(err.Error(), "KeyringConfig.Issuer ") {
			t.Errorf("Issuer %q with Revocations: error %v", name, err)
		}
	}
}

func manyKeys(t testing.TB, n int) (keys []*token.Key) {
	for range n {
		keys = append(keys, forge.Ring(t, issue.KeyringConfig{}).Active())
	}
	return keys
}
