package token_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// verify fails unless Verify answers want; the claims it returned tell whether the
// token was remembered: those are the same.
func verify(t testing.TB, v *token.Verifier, when, raw string, want error, opts ...token.VerifyOption) *token.Claims {
	t.Helper()
	c, err := v.Verify(t.Context(), raw, opts...)
	if !errors.Is(err, want) || (c != nil) != (want == nil) {
		t.Fatalf("%s: claims %v, error %v; want %v", when, c, err, want)
	}
	return c
}

// remembered verifies raw twice and fails unless the second time it was remembered.
func remembered(t testing.TB, v *token.Verifier, raw string, opts ...token.VerifyOption) *token.Claims {
	t.Helper()
	first := verify(t, v, "at first", raw, nil, opts...)
	if verify(t, v, "again", raw, nil, opts...) != first {
		t.Fatal("the token was not remembered")
	}
	return first
}

// swappedKeys is a KeySet that a test replaces.
type swappedKeys struct {
	atomic.Pointer[token.StaticKeySet]
}

func (s *swappedKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	if keys := s.Load(); keys != nil {
		return keys.Lookup(ctx, kid, alg)
	}
	return nil, token.ErrKeysUnavailable
}

// A remembered token is judged anew each time: expiry, nbf, age of the log, and what
// the log says (invariant 1).
func TestCachedTokenIsJudgedEachTime(t *testing.T) {
	forge.Keys()
	for name, change := range map[string]struct {
		until time.Duration
		event *revoke.Event
		want  error
	}{
		"expiry":     {until: 16*time.Minute + time.Second, want: token.ErrExpired},
		"the minute": {until: 15 * time.Minute, want: nil}, // within the leeway
		"jti":        {event: &revoke.Event{Kind: revoke.KindToken, Value: "jti-secret-0003"}, want: revoke.ErrRevoked},
		"sid":        {event: &revoke.Event{Kind: revoke.KindSession, Value: "sid-secret-0004"}, want: revoke.ErrRevoked},
		"sub":        {event: &revoke.Event{Kind: revoke.KindSubject, Value: "sub-secret-0001"}, want: revoke.ErrRevoked},
		"client":     {event: &revoke.Event{Kind: revoke.KindClient, Value: "client-secret-0002"}, want: revoke.ErrRevoked},
		"tenant":     {event: &revoke.Event{Kind: revoke.KindTenant, Value: "tenant-secret-0005"}, want: revoke.ErrRevoked},
		"issuer":     {event: &revoke.Event{Kind: revoke.KindIssuer}, want: revoke.ErrRevoked},
		"another":    {event: &revoke.Event{Kind: revoke.KindToken, Value: "another"}, want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ed := forge.Ed(t, "ed", forge.Keys().Ed)
				list := newFedList(t)
				v := forge.Verifier(t, func(c *token.VerifierConfig) {
					c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
					c.Revocations, c.InsecureNoRevocations = list.List, false
				})
				list.beat()
				raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
				claims := remembered(t, v, raw)
				for range change.until / (10 * time.Second) {
					time.Sleep(10 * time.Second)
					list.beat()
				}
				time.Sleep(change.until % (10 * time.Second))
				if change.event != nil {
					e := *change.event
					e.Issuer = forge.Issuer
					if e.Kind.Cutoff() {
						e.Before = time.Now().Add(time.Second)
					}
					if e.Until = time.Now().Add(time.Hour); e.Kind == 0 {
						t.Fatal("no kind")
					}
					list.event(e)
				}
				if again := verify(t, v, "then", raw, change.want); change.want == nil && again != claims {
					t.Error("no longer remembered")
				}
			})
		})
	}
}

func TestCachedTokenOfAStaleReplica(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list := newFedList(t)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Revocations, c.InsecureNoRevocations = list.List, false
		})
		list.beat()
		raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
		remembered(t, v, raw)
		time.Sleep(list.Config().MaxStaleness)
		verify(t, v, "at MaxStaleness", raw, nil)
		time.Sleep(time.Millisecond)
		verify(t, v, "beyond", raw, revoke.ErrStale)
		verify(t, v, "beyond, with another policy", raw, nil, token.WithStalePolicy(revoke.InsecureAllow()))
		list.beat()
		verify(t, v, "fresh again", raw, nil)
	})
}

func TestCachedTokenNeedsItsKey(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	same := forge.Ed(t, "ed", forge.Keys().Ed)
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := forge.Ed(t, "ed", private)
	var keys swappedKeys
	keys.Store(forge.StaticKeys(t, ed))
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, &keys
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	claims := remembered(t, v, raw)
	keys.Store(forge.StaticKeys(t, same))
	if verify(t, v, "the set was read again", raw, nil) != claims {
		t.Error("the same key read again is taken for another")
	}
	keys.Store(forge.StaticKeys(t, forge.EC(t, "ec")))
	verify(t, v, "the key is gone", raw, token.ErrUnknownKey)
	keys.Store(forge.StaticKeys(t, other))
	verify(t, v, "another key took its name", raw, token.ErrSignature)
	keys.Store(nil)
	verify(t, v, "nobody knows", raw, token.ErrKeysUnavailable)
	keys.Store(forge.StaticKeys(t, ed))
	verify(t, v, "the key is back", raw, nil)
	e := ed.Key.Revocation()
	e.Issuer = forge.Issuer
	forge.Apply(t, list, e)
	verify(t, v, "the key is revoked", raw, revoke.ErrRevoked)
}

// No byte of a remembered token can be changed, and none added or left out.
func TestCacheTellsTokensApart(t *testing.T) {
	for _, s := range []forge.Signer{forge.Ed(t, "ed", forge.Keys().Ed), forge.EC(t, "ec"), forge.HMAC(t, "hs")} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{s.Alg}, forge.StaticKeys(t, s)
		})
		raw := s.Forge(s.Header(), forge.Claims(time.Now()))
		claims := remembered(t, v, raw)
		for i := range raw {
			for _, c := range []byte{'A', raw[i] ^ 1, '.', '\n'} {
				if c == raw[i] {
					continue
				}
				if c, err := v.Verify(t.Context(), raw[:i]+string(c)+raw[i+1:]); err == nil {
					t.Fatalf("%s: a change at byte %d is accepted: %v", s.Alg, i, c)
				}
			}
			verify(t, v, "cut short", raw[:i], token.ErrInvalidToken)
		}
		for _, bad := range []string{raw + "=", raw + "A", " " + raw, raw + ".", "." + raw, raw[strings.IndexByte(raw, '.')+1:], raw[strings.LastIndexByte(raw, '.'):], raw + "." + raw} {
			verify(t, v, "a variant", bad, token.ErrInvalidToken)
		}
		if verify(t, v, "in the end", raw, nil) != claims {
			t.Error("no longer remembered")
		}
		if s.Alg == token.ES256 { // the twin is another token, with the same identity
			if verify(t, v, "twin", forge.Twin(t, raw), nil) == claims {
				t.Error("the twin shares the entry")
			}
		}
	}
}

// Tokens that were refused for any reason are not remembered.
func TestCacheTakesAcceptedTokensOnly(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindToken, Value: "revoked"})
	good := forge.Claims(time.Now())
	for range 3 {
		for name, payload := range map[string]forge.Object{
			"revoked": good.With("jti", `"revoked"`), "expired": good.With("exp", "1").With("iat", "0"), "aud": good.With("aud", `"x"`),
			"bound": good.With("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`), "claims": good.Without("sub"),
		} {
			verify(t, v, name, ed.Forge(ed.Header(), payload), token.ErrInvalidToken)
		}
		raw := ed.Forge(ed.Header(), good)
		verify(t, v, "bad signature", raw[:len(raw)-8]+"AAAAAAAA", token.ErrInvalidToken)
	}
	if n, _ := v.CacheUse(); n != 0 {
		t.Errorf("%d refused tokens are remembered", n)
	}
	// One that is only not good enough for the call was accepted.
	raw := ed.Forge(ed.Header(), good)
	verify(t, v, "scope", raw, token.ErrInsufficientScope, token.RequireScope("admin"))
	if n, _ := v.CacheUse(); n != 1 {
		t.Errorf("%d tokens are remembered, want 1", n)
	}
	verify(t, v, "remembered, scope", raw, token.ErrInsufficientScope, token.RequireScope("admin"))
	verify(t, v, "remembered", raw, nil)
}

// A certificate is asked for at each hit.
func TestCachedTokenNeedsPossession(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	mine, other := newCertificate(t).Leaf, newCertificate(t).Leaf
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).With("cnf", fmt.Sprintf(`{"x5t#S256":%q}`, token.CertificateThumbprint(mine))))
	remembered(t, v, raw, token.WithSender(token.Sender{Certificate: mine}))
	verify(t, v, "without a certificate", raw, token.ErrBinding)
	verify(t, v, "with another", raw, token.ErrBinding, token.WithSender(token.Sender{Certificate: other}))
	verify(t, v, "with its own", raw, nil, token.WithSender(token.Sender{Certificate: mine}))
}

// A flood of bad tokens leaves no trace; one of good tokens evicts and stays within
// the bound.
func TestCacheIsBounded(t *testing.T) {
	hs := forge.HMAC(t, "hs")
	const limit = 256 << 10
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.CacheBytes = []token.Algorithm{token.HS256}, forge.StaticKeys(t, hs), limit
	})
	good := forge.Claims(time.Now())
	kept := hs.Forge(hs.Header(), good)
	claims := remembered(t, v, kept)
	for i := range 20_000 {
		raw := kept[:len(kept)-12] + fmt.Sprintf("%012d", i)
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrInvalidToken) {
			t.Fatal(err)
		}
	}
	if n, bytes := v.CacheUse(); n != 1 || bytes > 4<<10 {
		t.Errorf("after a flood of bad tokens %d are remembered, in %d bytes", n, bytes)
	}
	if verify(t, v, "after the flood", kept, nil) != claims {
		t.Error("the flood pushed a good token out")
	}
	most := 0
	for i := range 5_000 {
		verify(t, v, "good", hs.Forge(hs.Header(), good.With("jti", strconv.Quote(fmt.Sprint("jti-", i)))), nil)
		if _, bytes := v.CacheUse(); bytes > most {
			most = bytes
		}
	}
	n, _ := v.CacheUse()
	if n < 50 || n > limit/1000 {
		t.Errorf("%d tokens are remembered", n)
	}
	if most > limit+limit/4 { // the library evicts after it has let in
		t.Errorf("%d bytes at the most, the bound is %d", most, limit)
	}
	t.Logf("%d tokens, %d bytes at the most", n, most)
}

// What the cache believes that its tokens take is what they take, roughly, and rather
// too much than too little, whatever is in them.
func TestCacheWeighsWhatItHolds(t *testing.T) {
	hs := forge.HMAC(t, "hs")
	list := forge.LocalList(t, revoke.Config{})
	heap := func() int {
		var m runtime.MemStats
		for range 3 {
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	array := func(n int, of string) string { return "[" + strings.Repeat(of+",", n) + `"` + forge.Audience + `"]` }
	good := forge.Claims(time.Now())
	for _, x := range []struct {
		name           string
		tokens         int
		header, claims forge.Object
	}{
		{"of the usual kind", 5_000, hs.Header(), good},
		{"with a scope of blanks", 300, hs.Header(), good.With("scope", `"a`+strings.Repeat(" ", 5_000)+`b"`)},
		{"with a scope of letters", 300, hs.Header(), good.With("scope", `"`+strings.Repeat("a ", 2_500)+`"`)},
		{"with a scope of escaped letters", 300, hs.Header(), good.With("scope", `"`+strings.Repeat(`\u0061 `, 700)+`"`)},
		{"with a scope of escaped quotes", 300, hs.Header(), good.With("scope", `"`+strings.Repeat(`\"`, 2_550)+`"`)},
		{"with a hundred audiences", 300, hs.Header(), good.With("aud", array(1_030, `"a"`))},
		{"with escaped audiences", 300, hs.Header(), good.With("aud", array(300, `"\u0061\u0062"`))},
		{"with amr of empty texts", 300, hs.Header(), good.With("amr", array(1_030, `""`))},
		{"with a large header", 300, hs.Header().With("x", `"`+strings.Repeat("x", 3_800)+`"`), good},
	} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.CacheBytes = []token.Algorithm{token.HS256}, forge.StaticKeys(t, hs), 256<<20
			c.Revocations, c.InsecureNoRevocations = list, false
		})
		before := heap()
		for i := range x.tokens {
			header := x.header
			if x.tokens < 1_000 { // each its own, as strangers have it
				header = header.With("n", strconv.Itoa(i))
			}
			verify(t, v, x.name, hs.Forge(header, x.claims.With("jti", strconv.Quote(fmt.Sprint("jti-", i)))), nil)
		}
		n, weight := v.CacheUse()
		held := heap() - before
		if n != x.tokens || held > weight || x.tokens == 5_000 && held < weight/2 {
			t.Errorf("%d tokens %s hold %d bytes, believed to be %d", n, x.name, held, weight)
		}
		t.Logf("%s: %d bytes a token, believed to be %d", x.name, held/n, weight/n)
		runtime.KeepAlive(v)
	}
}

// Nobody can use what lies in memory of a token that was verified: its signature does not.
func TestCacheKeepsNoSignature(t *testing.T) {
	hs := forge.HMAC(t, "hs")
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.HS256}, forge.StaticKeys(t, hs)
	})
	raw := strings.Clone(hs.Forge(hs.Header(), forge.Claims(time.Now())))
	remembered(t, v, raw)
	if n, _ := v.CacheUse(); n != 1 {
		t.Fatalf("%d tokens are remembered", n)
	}
	if where, found := v.CacheKeepsPartOf(raw); found {
		t.Errorf("%s lies in the memory of the token, and keeps all of it", where)
	}
	if where, found := v.CacheKeepsPartOf(raw[:1]); found {
		t.Error(where)
	}
	runtime.KeepAlive(raw)
}

// OneOf remembers for all, and its Verifiers judge.
func TestOneOfRemembers(t *testing.T) {
	ed, ec := forge.Ed(t, "ed", forge.Keys().Ed), forge.EC(t, "ec")
	const second = "https://second.example.com"
	list := forge.LocalList(t, revoke.Config{})
	a := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	b := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Issuer, c.Algorithms, c.Keys, c.NoCache = second, []token.Algorithm{token.ES256}, forge.StaticKeys(t, ec), true
	})
	both, err := token.OneOf(a, b)
	if err != nil {
		t.Fatal(err)
	}
	rawA := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	rawB := ec.Forge(ec.Header(), forge.Claims(time.Now()).With("iss", strconv.Quote(second)))
	remembered(t, both, rawA)
	if verify(t, both, "second", rawB, nil) == verify(t, both, "second again", rawB, nil) {
		t.Error("a token is remembered whose Verifier has NoCache")
	}
	forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "sub-secret-0001"})
	verify(t, both, "revoked", rawA, revoke.ErrRevoked)
	verify(t, both, "the other issuer's", rawB, nil)
}

func TestNoCacheRemembersNothing(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.NoCache = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), true
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	if verify(t, v, "at first", raw, nil) == verify(t, v, "again", raw, nil) {
		t.Error("remembered")
	}
}

func TestCacheConfig(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for _, x := range []struct {
		bytes int
		off   bool
		field string // that is refused
	}{{0, false, ""}, {0, true, ""}, {64 << 10, false, ""}, {-1, false, "CacheBytes"}, {1000, false, "CacheBytes"}, {1 << 20, true, "NoCache"}} {
		_, err := token.NewVerifier(token.VerifierConfig{
			Issuer: forge.Issuer, Audiences: []string{forge.Audience}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: forge.StaticKeys(t, ed),
			InsecureNoRevocations: true, CacheBytes: x.bytes, NoCache: x.off,
		})
		if (err == nil) != (x.field == "") || err != nil && !strings.Contains(err.Error(), "VerifierConfig."+x.field) {
			t.Errorf("CacheBytes %d, NoCache %t: %v", x.bytes, x.off, err)
		}
	}
}
