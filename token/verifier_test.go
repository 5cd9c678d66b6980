package token_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// Invariant 7: of several things wrong with a token the earliest check speaks.
func TestOrderOfChecks(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		_, private, _ := ed25519.GenerateKey(rand.Reader)
		attacker := forge.Ed(t, "ed", private)
		list := forge.LocalList(t, revoke.Config{})
		keys := &forge.CountedKeys{KeySet: forge.StaticKeys(t, ed)}
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.MaxTokenBytes = []token.Algorithm{token.EdDSA}, keys, 1024
			c.Revocations, c.InsecureNoRevocations = list, false
		})
		now := time.Now()
		good := forge.Claims(now)
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindToken, Value: "jti-secret-0003"})

		// Each row adds an earlier fault to all those before it.
		header, claims, sign := ed.Header(), good, ed
		want := func(what string, err, want error) {
			t.Helper()
			if !errors.Is(err, want) {
				t.Errorf("%s: error %v, want %v", what, err, want)
			}
		}
		verify := func() error {
			_, err := v.Verify(t.Context(), sign.Forge(header, claims))
			return err
		}
		want("revoked", verify(), revoke.ErrRevoked)
		claims = claims.With("exp", "1000000000")
		want("and its life too long", verify(), token.ErrLifetime)
		claims = claims.With("iat", "1000000000").With("exp", "1000000001")
		want("and from the future", verify(), token.ErrNotYetValid)
		claims = claims.With("exp", "2").With("iat", "1")
		want("and expired", verify(), token.ErrExpired)
		claims = claims.With("aud", `"x"`)
		want("and for others", verify(), token.ErrAudience)
		claims = claims.With("iss", `"x"`)
		want("and by others", verify(), token.ErrIssuer)
		claims = claims.Without("sub")
		want("and a claim missing", verify(), token.ErrClaims)
		sign = attacker
		want("and badly signed", verify(), token.ErrSignature)
		header = header.With("kid", `"x"`)
		want("and by an unknown key", verify(), token.ErrUnknownKey)
		seen := keys.Lookups.Load()
		header = header.With("typ", `"JWT"`)
		want("and of another type", verify(), token.ErrType)
		header = header.With("alg", `"none"`)
		want("and of a refused algorithm", verify(), token.ErrAlgorithm)
		header = header.With("crit", `[]`)
		want("and critical", verify(), token.ErrMalformed)
		claims = claims.With("pad", `"`+strings.Repeat("a", 1024)+`"`)
		want("and too large", verify(), token.ErrTooLarge)
		if n := keys.Lookups.Load(); n != seen {
			t.Errorf("%d look-ups for tokens that the gate refuses", n-seen)
		}
	})
}

// Without MaxLifetime a token may live as long as the List remembers, and not longer.
func TestLifetimeIsTheLists(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	now := time.Now()
	lives := func(d time.Duration) string {
		return ed.Forge(ed.Header(), forge.Claims(now).With("exp", strconv.FormatInt(now.Unix()+int64(d/time.Second), 10)))
	}
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.MaxLifetime = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), 0
		c.Revocations, c.InsecureNoRevocations = forge.LocalList(t, revoke.Config{TokenLifetime: 20 * time.Minute}), false
	})
	if _, err := v.Verify(t.Context(), lives(20*time.Minute)); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(t.Context(), lives(20*time.Minute+time.Second)); !errors.Is(err, token.ErrLifetime) {
		t.Errorf("error %v", err)
	}
	unlimited := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.MaxLifetime = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), 0
	})
	if _, err := unlimited.Verify(t.Context(), lives(1000*time.Hour)); err != nil {
		t.Error(err)
	}
}

// The key set is a user's code: nothing it answers is taken on trust.
func TestKeySetIsNotTrusted(t *testing.T) {
	ed, ec := forge.Ed(t, "ed", forge.Keys().Ed), forge.EC(t, "ec")
	secret := forge.HMAC(t, "ed")
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	for _, x := range []struct {
		name string
		key  *token.Key
		err  error
		want error
	}{
		{"the key", ed.Key, nil, nil},
		{"no key, no error", nil, nil, token.ErrUnknownKey},
		{"a key of another algorithm", ec.Key, nil, token.ErrUnknownKey},
		{"a secret of that name", secret.Key, nil, token.ErrUnknownKey},
		{"a key of another name", forge.Ed(t, "other", forge.Keys().Ed).Key, nil, token.ErrUnknownKey},
		{"a key beside an error", ed.Key, token.ErrUnknownKey, token.ErrUnknownKey},
		{"unavailable", nil, token.ErrKeysUnavailable, token.ErrKeysUnavailable},
		{"unknown here, unavailable there", nil, errors.Join(token.ErrUnknownKey, token.ErrKeysUnavailable), token.ErrKeysUnavailable},
		{"an error of its own", nil, errors.New("disk on fire"), token.ErrKeysUnavailable},
		{"a key beside an error of its own", ed.Key, errors.New("disk on fire"), token.ErrKeysUnavailable},
		{"the context's error", nil, context.Canceled, token.ErrKeysUnavailable},
	} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms = []token.Algorithm{token.EdDSA, token.ES256}
			c.Keys = forge.KeySetFunc(func(_ context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
				if kid != "ed" || alg != token.EdDSA {
					t.Errorf("Lookup(%q, %q)", kid, alg)
				}
				return x.key, x.err
			})
		})
		claims, err := v.Verify(t.Context(), raw)
		if (claims != nil) != (x.want == nil) || !errors.Is(err, x.want) {
			t.Errorf("%s: claims %v, error %v; want %v", x.name, claims, err, x.want)
		}
		if x.want == token.ErrKeysUnavailable && (!errors.Is(err, token.ErrUnavailable) || errors.Is(err, token.ErrInvalidToken) || !errors.Is(err, x.err)) {
			t.Errorf("%s: error %v is of the wrong family or hides its cause", x.name, err)
		}
	}
}

// A token without kid finds a key only if nothing has to be guessed.
func TestNoKeyID(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	one, two := forge.Ed(t, "one", forge.Keys().Ed), forge.Ed(t, "two", private)
	raw := one.Forge(one.Header().Without("kid"), forge.Claims(time.Now()))
	for _, x := range []struct {
		keys *token.StaticKeySet
		want error
	}{{forge.StaticKeys(t, one), nil}, {forge.StaticKeys(t, one, two), token.ErrUnknownKey}} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, x.keys
		})
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, x.want) {
			t.Errorf("error %v, want %v", err, x.want)
		}
	}
}

func TestVerifyContext(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	var none context.Context
	for _, when := range []string{"first", "remembered"} {
		if !panics(func() { _, _ = v.Verify(none, raw) }) {
			t.Errorf("nil context, %s: no panic", when)
		}
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}
	// Keys that are at hand need no waiting, so there is nothing to cancel.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(cancelled, raw); err != nil {
		t.Errorf("cancelled context, local keys: %v", err)
	}
	waiting := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms = []token.Algorithm{token.EdDSA}
		c.Keys = forge.KeySetFunc(func(ctx context.Context, _ string, _ token.Algorithm) (*token.Key, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	if _, err := waiting.Verify(cancelled, raw); !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while fetching: error %v", err)
	}
}

// The default leeway is 30 s, and one millisecond is none.
func TestLeeway(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		for _, x := range []struct{ set, effective time.Duration }{
			{0, 30 * time.Second}, {time.Millisecond, time.Millisecond}, {1500 * time.Microsecond, time.Millisecond}, {time.Minute, time.Minute},
		} {
			v := forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), x.set
			})
			claims := forge.Claims(time.Now())
			raw := ed.Forge(ed.Header(), claims)
			time.Sleep(15*time.Minute + x.effective - time.Millisecond)
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("leeway %s: a millisecond before the end: %v", x.set, err)
			}
			time.Sleep(time.Millisecond)
			if _, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrExpired) {
				t.Errorf("leeway %s: at the end: %v", x.set, err)
			}
			time.Sleep(time.Second - time.Duration(time.Now().Nanosecond()))
		}
	})
}

// Every single byte of a token matters: no change of one is accepted.
func TestEveryByteCounts(t *testing.T) {
	for _, s := range []forge.Signer{forge.Ed(t, "ed", forge.Keys().Ed), forge.HMAC(t, "hs")} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{s.Alg}, forge.StaticKeys(t, s)
		})
		raw := s.Forge(s.Header(), forge.Claims(time.Now()))
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		for i := range len(raw) {
			changed := []byte(raw)
			changed[i] ^= 1
			if claims, err := v.Verify(t.Context(), string(changed)); claims != nil || !errors.Is(err, token.ErrInvalidToken) {
				t.Errorf("%s: byte %d changed: claims %v, error %v", s.Alg, i, claims, err)
			}
			if claims, err := v.Verify(t.Context(), raw[:i]); claims != nil || !errors.Is(err, token.ErrInvalidToken) {
				t.Errorf("%s: cut at %d: claims %v, error %v", s.Alg, i, claims, err)
			}
		}
		signature, _ := base64.RawURLEncoding.DecodeString(raw[strings.LastIndexByte(raw, '.')+1:])
		if claims, _ := v.Verify(t.Context(), raw[:strings.LastIndexByte(raw, '.')+1]+base64.RawURLEncoding.EncodeToString(append(signature, 0))); claims != nil {
			t.Errorf("%s: a longer signature is accepted", s.Alg)
		}
	}
}

// panics reports whether call panics, as each does that has no context.
func panics(call func()) (did bool) {
	defer func() { did = recover() != nil }()
	call()
	return
}
