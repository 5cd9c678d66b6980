package token_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// RFC 9864: EdDSA with a key on Ed25519 and Ed25519 are one algorithm, whichever name
// the configuration, the key and the token have for it.
func TestEd25519IsEdDSA(t *testing.T) {
	private := forge.Keys().Ed
	published := forge.JWK(t, private.Public()).With("kid", `"k"`)
	names := []token.Algorithm{token.EdDSA, token.Ed25519}
	sets := map[string]token.KeySet{}
	for _, alg := range names {
		key, err := token.NewKey("k", alg, private.Public())
		if err != nil {
			t.Fatal(err)
		}
		set, err := token.NewStaticKeySet(key)
		if err != nil {
			t.Fatal(err)
		}
		sets["a key for "+string(alg)] = set
		signing, err := issue.NewSigningKey("k", alg, private)
		if err != nil {
			t.Fatal(err)
		}
		if sets["a ring for "+string(alg)], err = issue.NewKeyring(issue.KeyringConfig{}, signing); err != nil {
			t.Fatal(err)
		}
		private := published.With("alg", strconv.Quote(string(alg))).With("d", strconv.Quote(base64.RawURLEncoding.EncodeToString(private.Seed())))
		for _, told := range append(names, "") {
			signing, err := issue.ParseSigningKey("", told, []byte(private.String()))
			if err != nil {
				t.Fatalf("a private JWK for %s, told %q: %v", alg, told, err)
			}
			if sets["a private JWK for "+string(alg)+", told "+string(told)], err = token.NewStaticKeySet(signing.Key()); err != nil {
				t.Fatal(err)
			}
		}
		site := newSite(t, forge.JSON(forge.JWKS(published.With("alg", strconv.Quote(string(alg))))))
		for _, asked := range [][]token.Algorithm{nil, {token.EdDSA}, {token.Ed25519}, names} {
			set, err := token.ParseKeySet([]byte(forge.JWKS(published.With("alg", strconv.Quote(string(alg))))), asked...)
			if err != nil {
				t.Fatalf("a set with %s, asked for %s: %v", alg, asked, err)
			}
			sets["a set with "+string(alg)+" of "+strconv.Itoa(len(asked))] = set
			remote, err := token.NewRemoteKeySet(t.Context(), site.URL, token.RemoteKeySetConfig{Algorithms: asked, InsecureAllowHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { remote.Close() })
			sets["a remote set with "+string(alg)+" of "+strconv.Itoa(len(asked))] = remote
		}
	}
	set, err := token.ParseKeySet([]byte(forge.JWKS(published)), names...) // one algorithm fits, by two names
	if err != nil {
		t.Fatal(err)
	}
	sets["a set without alg"] = set
	ed := forge.Ed(t, "k", private)
	for name, keys := range sets {
		for _, allowed := range [][]token.Algorithm{{token.EdDSA}, {token.Ed25519}, {token.ES256, token.Ed25519, token.EdDSA}} {
			v := forge.Verifier(t, func(c *token.VerifierConfig) { c.Keys, c.Algorithms = keys, allowed })
			for _, alg := range names {
				header := ed.Header().With("alg", strconv.Quote(string(alg)))
				for _, header := range []forge.Object{header, header.Without("kid")} {
					if _, err := v.Verify(t.Context(), ed.Forge(header, forge.Claims(time.Now()))); err != nil {
						t.Errorf("%s, %s allowed, %s in the token: %v", name, allowed, alg, err)
					}
				}
			}
		}
		for _, alg := range names {
			if key, err := keys.Lookup(t.Context(), "k", alg); err != nil || key.Algorithm() != token.EdDSA {
				t.Errorf("%s: asked for %s: %v, %v", name, alg, key, err)
			}
		}
	}
	// It is no second chance for anything else.
	for _, alg := range []string{"ed25519", "ED25519", "EDDSA", "Ed448", "Ed25519ph", " Ed25519"} {
		if _, err := token.NewKey("k", token.Algorithm(alg), private.Public()); err == nil {
			t.Errorf("a key for %q", alg)
		}
		v := forge.Verifier(t, func(c *token.VerifierConfig) { c.Keys, c.Algorithms = forge.StaticKeys(t, ed), names })
		if _, err := v.Verify(t.Context(), ed.Forge(ed.Header().With("alg", strconv.Quote(alg)), forge.Claims(time.Now()))); err == nil {
			t.Errorf("a token with %q", alg)
		}
	}
	es := forge.EC(t, "k")
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Keys, c.Algorithms = forge.StaticKeys(t, es), []token.Algorithm{token.ES256, token.Ed25519}
	})
	if _, err := v.Verify(t.Context(), es.Forge(es.Header().With("alg", `"Ed25519"`), forge.Claims(time.Now()))); err == nil {
		t.Error("a P-256 key for Ed25519")
	}
}

// The same for proofs: dpop 2 and oauth4webapi write nothing but Ed25519. What is
// advertised names both, the current one first.
func TestEd25519InProofs(t *testing.T) {
	for _, allowed := range []token.Algorithm{token.EdDSA, token.Ed25519} {
		b := newBoundAPI(t, func(c *token.DPoPConfig) { c.Algorithms = []token.Algorithm{token.ES256, allowed} })
		for _, alg := range []string{"EdDSA", "Ed25519"} {
			for _, of := range []string{"EdDSA", "Ed25519", ""} {
				key := b.p.jwk
				if of != "" {
					key = key.With("alg", strconv.Quote(of))
				}
				header := b.p.header().With("alg", strconv.Quote(alg)).With("jwk", key.String())
				if r := b.send("DPoP", b.raw, b.p.forge(header, b.p.claims(b.raw))); r.StatusCode != 200 {
					t.Errorf("%s allowed, proof for %s, jwk for %q: %d; logged %q", allowed, alg, of, r.StatusCode, &b.logged)
				}
			}
		}
		r := b.send("DPoP", b.raw)
		if got := strings.Join(r.Header.Values("WWW-Authenticate"), "\n"); !strings.Contains(got, `algs="ES256 Ed25519 EdDSA"`) {
			t.Errorf("%s allowed: challenge %q", allowed, got)
		}
	}
}

// What we issue and publish has one name for it, in token and key alike: EdDSA, which
// more verifiers know, and which those that know both want to see in both or neither.
func TestEd25519IsWrittenAsEdDSA(t *testing.T) {
	for _, alg := range []token.Algorithm{"", token.EdDSA, token.Ed25519} {
		ring := forge.Ring(t, issue.KeyringConfig{Algorithm: alg})
		w := httptest.NewRecorder()
		ring.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		var set struct{ Keys []struct{ Alg, Crv string } }
		if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0].Alg != "EdDSA" || set.Keys[0].Crv != "Ed25519" {
			t.Errorf("%q: published %s", alg, w.Body)
		}
		issuer, err := issue.NewIssuer(issue.Config{Issuer: forge.Issuer, Keys: ring})
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(forge.Issue(t, issuer, forge.Request()).Raw(), ".")
		if header, _ := base64.RawURLEncoding.DecodeString(head); !strings.Contains(string(header), `"alg":"EdDSA"`) {
			t.Errorf("%q: header %s", alg, header)
		}
	}
}
