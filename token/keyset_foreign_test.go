package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Keycloak publishes one key under one kid for several algorithms: tokens of each
// verify, and what is no token of that algorithm does not.
func TestOneKeyForSeveralAlgorithms(t *testing.T) {
	rs := forge.JWK(t, forge.Keys().Rsa.Public()).With("kid", `"rs"`)
	hashes := map[token.Algorithm]crypto.Hash{token.RS256: crypto.SHA256, token.RS384: crypto.SHA384, token.RS512: crypto.SHA512}
	var published []forge.Object
	for alg := range hashes {
		published = append(published, rs.With("alg", strconv.Quote(string(alg))))
	}
	site := newSite(t, forge.JSON(forge.JWKS(published...)))
	keys, err := token.NewRemoteKeySet(t.Context(), site.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Keys, c.Algorithms = keys, []token.Algorithm{token.RS256, token.RS384, token.RS512, token.PS256}
	})
	for alg, hash := range hashes {
		s := forge.RS(t, "rs")
		s.Alg, s.Sign = alg, func(in []byte) []byte {
			h := hash.New()
			h.Write(in)
			signature, err := rsa.SignPKCS1v15(nil, forge.Keys().Rsa, hash, h.Sum(nil))
			if err != nil {
				t.Fatal(err)
			}
			return signature
		}
		raw := s.Forge(s.Header(), forge.Claims(time.Now()))
		for range 2 { // remembered, too
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("%s: %v; status %+v", alg, err, keys.Status())
			}
		}
		for other := range hashes {
			_, err := v.Verify(t.Context(), s.Forge(s.Header().With("alg", strconv.Quote(string(other))), forge.Claims(time.Now())))
			if (err == nil) != (other == alg) {
				t.Errorf("%s named %s: %v", alg, other, err)
			}
		}
	}
	if _, err := keys.Lookup(t.Context(), "rs", token.PS256); !errors.Is(err, token.ErrUnknownKey) { // which is not published
		t.Errorf("PS256: %v", err)
	}
	if st := keys.Status(); st.Keys != 3 || len(st.Skipped) != 0 {
		t.Errorf("status %+v", st)
	}
}

// What others write otherwise, without leaving a doubt about the key, is the same key:
// it has the same thumbprint, which is what events name it by.
func TestKeySpelling(t *testing.T) {
	k := forge.Keys()
	var short *ecdsa.PrivateKey // with a coordinate that begins with zeros
	for short == nil || short.X.BitLen() > 248 && short.Y.BitLen() > 248 {
		short, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	number := func(n *big.Int) []byte { return n.Bytes() }
	raw := base64.RawURLEncoding.EncodeToString
	zeros := func(b []byte, n int) []byte { return append(make([]byte, n), b...) }
	n, e := number(k.Rsa.N), []byte{1, 0, 1}
	ed := []byte(k.Ed.Public().(ed25519.PublicKey))
	x, y := k.Ec.X.FillBytes(make([]byte, 32)), k.Ec.Y.FillBytes(make([]byte, 32))
	rs := forge.JWK(t, k.Rsa.Public()).With("alg", `"RS256"`)
	ec := forge.JWK(t, k.Ec.Public())
	wrapped := raw(n[:192]) + "\\r\\n" + raw(n[192:])
	for name, x := range map[string]struct {
		plain, other forge.Object
		good         bool
	}{
		"n padded":                 {rs, rs.With("n", strconv.Quote(base64.URLEncoding.EncodeToString(n))), true},
		"e padded":                 {rs, rs.With("e", `"AQAB=="`), true},
		"n in the other alphabet":  {rs, rs.With("n", strconv.Quote(base64.StdEncoding.EncodeToString(n))), true},
		"n with a leading zero":    {rs, rs.With("n", strconv.Quote(raw(zeros(n, 1)))), true},
		"n with many":              {rs, rs.With("n", strconv.Quote(raw(zeros(n, 64)))), true},
		"n in two lines":           {rs, rs.With("n", `"`+wrapped+`"`), true},
		"e with a leading zero":    {rs, rs.With("e", strconv.Quote(raw(zeros(e, 1)))), true},
		"x padded":                 {ec, ec.With("x", strconv.Quote(base64.URLEncoding.EncodeToString(x))), true},
		"y with a leading zero":    {ec, ec.With("y", strconv.Quote(raw(zeros(y, 1)))), true},
		"without leading zeros":    {forge.JWK(t, short.Public()), forge.JWK(t, short.Public()).With("x", strconv.Quote(raw(number(short.X)))).With("y", strconv.Quote(raw(number(short.Y)))), true},
		"Ed25519 padded":           {forge.JWK(t, k.Ed.Public()), forge.JWK(t, k.Ed.Public()).With("x", strconv.Quote(base64.StdEncoding.EncodeToString(ed))), true},
		"Ed25519 with a zero":      {forge.JWK(t, k.Ed.Public()), forge.JWK(t, k.Ed.Public()).With("x", strconv.Quote(raw(zeros(ed, 1)))), false},
		"n with a space":           {rs, rs.With("n", strconv.Quote(raw(n[:192])+" "+raw(n[192:]))), false},
		"n of other bytes":         {rs, rs.With("n", `"é`+raw(n)+`"`), false},
		"e of five bytes":          {rs, rs.With("e", strconv.Quote(raw([]byte{1, 0, 0, 0, 1}))), false},
		"x of 33 bytes":            {ec, ec.With("x", strconv.Quote(raw(append([]byte{1}, x...)))), false},
		"padding in the middle":    {ec, ec.With("x", strconv.Quote(raw(x[:15])+"="+raw(x[15:]))), false},
		"e = 1 with leading zeros": {rs, rs.With("e", `"AAAB"`), false},
		"a weak n, with zeros":     {rs, rs.With("n", strconv.Quote(raw(zeros(n[:128], 128)))), false},
	} {
		want, err := token.ParseKeySet([]byte(forge.JWKS(x.plain)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := token.ParseKeySet([]byte(forge.JWKS(x.other)))
		if (err == nil) != x.good || err != nil && !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
			key, err := want.Lookup(t.Context(), "", alg)
			if err != nil || got == nil {
				continue
			}
			if same, err := got.Lookup(t.Context(), "", alg); err != nil || same.Thumbprint() != key.Thumbprint() || same.ID() != key.ID() {
				t.Errorf("%s: %v is not %v (%v)", name, same, key, err)
			}
		}
	}
	// A private half that is published takes its key along, however either is spelled.
	keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: &keyServer{h: forge.JSON(forge.JWKS(
		ec.With("kid", `"a"`), ec.With("kid", `"b"`).With("x", strconv.Quote(base64.URLEncoding.EncodeToString(x))).With("d", `"AAAA"`)))}})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if key, err := keys.Lookup(t.Context(), "a", token.ES256); err == nil {
		t.Errorf("%v verifies", key)
	}
}

// A set is judged by its body. The reason for what is refused is the cause, in the
// error of a look-up, in the status and in the log.
func TestRemoteKeysSayWhy(t *testing.T) {
	ed := forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"k"`)
	rs := forge.JWK(t, forge.Keys().Rsa.Public()).With("kid", `"rs"`)
	small := rs.With("alg", `"RS256"`).With("n", strconv.Quote(base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 128))))
	for _, contentType := range []string{"text/plain", "text/plain; charset=utf-8", "application/octet-stream", "binary/octet-stream", "text/html", "application/jwk-set+json", "x", ";;", ""} {
		site := newSite(t, forge.JSON("\ufeff"+forge.JWKS(ed), "Content-Type", contentType))
		keys, err := token.NewRemoteKeySet(t.Context(), site.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Lookup(t.Context(), "k", token.EdDSA); err != nil {
			t.Errorf("a set called %q: %v", contentType, err)
		}
		keys.Close()
	}
	for name, x := range map[string]struct {
		set, contentType string
		kid              string
		want             error
		why              string
	}{
		"a page":          {"<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8", "k", token.ErrKeysUnavailable, `Content-Type "text/html"`},
		"weak alone":      {forge.JWKS(small), "", "rs", token.ErrKeysUnavailable, "1024 bits"},
		"weak":            {forge.JWKS(ed, small), "", "rs", token.ErrUnknownKey, "key 2: weak key: RSA modulus of 1024 bits"},
		"no alg alone":    {forge.JWKS(rs), "", "rs", token.ErrKeysUnavailable, "no alg, and several fit"},
		"no alg":          {forge.JWKS(ed, rs), "", "rs", token.ErrUnknownKey, "key 2: no alg, and several fit"},
		"use":             {forge.JWKS(ed, rs.With("use", `"enc"`)), "", "rs", token.ErrUnknownKey, "use is not sig"},
		"private":         {forge.JWKS(ed, rs.With("alg", `"RS256"`), rs.With("d", `"AAAA"`).With("kid", `"d"`)), "", "rs", token.ErrUnknownKey, "its private half is published"},
		"two of one name": {forge.JWKS(ed, ed.With("x", `"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`), rs.With("alg", `"RS256"`)), "", "k", token.ErrUnknownKey, "another key has its kid and alg"},
		"not there":       {forge.JWKS(ed), "", "other", token.ErrUnknownKey, ""},
		"an empty set":    {forge.JWKS(), "", "k", token.ErrKeysUnavailable, "it is empty"},
		"many bad ones":   {forge.JWKS(rs, rs, rs, rs, rs, rs), "", "rs", token.ErrKeysUnavailable, "and 2 more"},
	} {
		var logged bytes.Buffer
		keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{
			Transport: &keyServer{h: forge.JSON(x.set, "Content-Type", x.contentType)}, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Keys, c.Algorithms = keys, []token.Algorithm{token.RS256, token.EdDSA}
		})
		s := forge.Ed(t, "k", forge.Keys().Ed)
		if x.kid == "rs" {
			s = forge.RS(t, "rs")
		}
		_, err = v.Verify(t.Context(), s.Forge(s.Header().With("kid", strconv.Quote(x.kid)), forge.Claims(time.Now())))
		if !errors.Is(err, x.want) || !strings.Contains(err.Error(), x.why) || strings.Contains(err.Error(), strconv.Quote(x.kid)) {
			t.Errorf("%s: %v, want %q", name, err, x.why)
		}
		st := keys.Status()
		keys.Close() // what is logged of the fetch is logged by then
		if shown := strings.Join(st.Skipped, "\n") + errText(st.Err); x.why != "" && !strings.Contains(shown, x.why) {
			t.Errorf("%s: status %+v", name, st)
		}
		if x.why != "" && !strings.Contains(strings.ReplaceAll(logged.String(), `\"`, `"`), x.why) {
			t.Errorf("%s: logged %s", name, &logged)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A set whose every key is spoiled is taken for a mistake as far as it names the keys
// at hand. One that it does not name is withdrawn.
func TestRemoteKeysWithdrawnBySpoiledSet(t *testing.T) {
	ed := forge.JWK(t, forge.Keys().Ed.Public()).With("kid", `"a"`)
	for name, x := range map[string]struct {
		set  string
		want error
	}{
		"spoiled":                    {forge.JWKS(ed.With("x", `"AA"`)), nil},
		"spoiled, and without a kid": {forge.JWKS(ed.With("x", `"AA"`).Without("kid")), nil},
		"another, spoiled":           {forge.JWKS(ed.With("x", `"AA"`).With("kid", `"b"`)), token.ErrKeysUnavailable},
		"spoiled, and its private half is published": {forge.JWKS(ed.With("kid", `"b"`).With("d", `"AA"`), ed.With("x", `"AA"`)), token.ErrKeysUnavailable},
		"another, for encryption":                    {forge.JWKS(ed.With("use", `"enc"`).With("kid", `"b"`)), token.ErrKeysUnavailable},
		"itself, for encryption":                     {forge.JWKS(ed.With("use", `"enc"`)), token.ErrKeysUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &keyServer{h: forge.JSON(forge.JWKS(ed))}
			keys, err := token.NewRemoteKeySet(t.Context(), jwksURL, token.RemoteKeySetConfig{Transport: s})
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			start := time.Now()
			s.answer(forge.JSON(x.set))
			for time.Since(start) < 59*time.Minute {
				time.Sleep(5 * time.Minute)
				keys.Lookup(t.Context(), "a", token.EdDSA)
				synctest.Wait()
				if time.Since(start) < 59*time.Minute {
					if _, err := keys.Lookup(t.Context(), "a", token.EdDSA); !errors.Is(err, x.want) {
						t.Fatalf("%s, after %s: %v", name, time.Since(start), err)
					}
				}
			}
			forge.Find(t, keys, "a", token.ErrKeysUnavailable) // too old by now
			s.answer(forge.JSON(forge.JWKS(ed)))
			time.Sleep(time.Minute)
			forge.Find(t, keys, "a", nil)
		})
	}
}
