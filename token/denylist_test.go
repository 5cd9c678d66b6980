package token_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A fedList is a List that one fake log feeds.
type fedList struct {
	*revoke.List
	t    testing.TB
	feed *replica.Feed
	mu   sync.Mutex // a heartbeat is numbered and delivered before the event after it
	next replica.Record
}

func newFedList(t testing.TB) *fedList {
	t.Helper()
	list := forge.NewList(t, revoke.Config{})
	feed, err := replica.NewFeed(list)
	if err != nil {
		t.Fatal(err)
	}
	sub := feed.Begin(revoke.Now(), replica.LogInfo{Retention: revoke.DefaultRetention()})
	return &fedList{List: list, t: t, feed: feed, next: replica.Record{Generation: sub.Generation}}
}

// record is called with mu held.
func (l *fedList) record() replica.Record {
	l.next.Delivery++
	l.next.Sequence++
	l.next.Time = time.Now()
	return l.next
}

func (l *fedList) beat() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	hb := replica.Heartbeat{Nonce: [16]byte{byte(l.next.Delivery)}, Time: time.Now(), Name: "own"}
	l.feed.Sent(revoke.Now(), hb.Nonce)
	if err := l.feed.Heartbeat(revoke.Now(), l.record(), hb); err != nil {
		l.t.Fatal(err)
	}
}

func (l *fedList) event(e revoke.Event) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.feed.Event(revoke.Now(), l.record(), e); err != nil {
		l.t.Fatal(err)
	}
}

// The List learns which issuer its verifier expects, so that events for a
// misspelt one are noticed.
func TestVerifierNamesItsIssuer(t *testing.T) {
	list := newFedList(t)
	forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, forge.Ed(t, "ed", forge.Keys().Ed))
		c.Revocations, c.InsecureNoRevocations = list.List, false
	})
	for i, iss := range []string{forge.Issuer, forge.Issuer + "/"} {
		list.event(revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "a"})
		if n := list.Stats(revoke.Now()).ForeignIssuer; n != uint64(i) {
			t.Errorf("after an event for %s: %d for foreign issuers, want %d", iss, n, i)
		}
	}
}

// Invariant 1 as a verifier shows it: fresh accepts, silence beyond MaxStaleness
// is "cannot know", and what the log delivered is refused in every state.
func TestVerifyFollowsFreshness(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list := newFedList(t)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Revocations, c.InsecureNoRevocations = list.List, false
		})
		good := forge.Claims(time.Now())
		raw, twin := ed.Forge(ed.Header(), good), ed.Forge(ed.Header(), good.With("jti", `"other"`))
		expect := func(when, raw string, want error) {
			t.Helper()
			if claims, err := v.Verify(t.Context(), raw); !errors.Is(err, want) || (claims != nil) != (want == nil) {
				t.Errorf("%s: claims %v, error %v; want %v", when, claims, err, want)
			}
		}
		expect("before any proof", raw, revoke.ErrStale)
		time.Sleep(time.Second)
		list.beat()
		expect("fresh", raw, nil)
		time.Sleep(list.Config().MaxStaleness)
		expect("at MaxStaleness", raw, nil)
		time.Sleep(time.Millisecond)
		expect("beyond MaxStaleness", raw, revoke.ErrStale)
		list.event(revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindToken, Value: "jti-secret-0003"})
		expect("revoked while stale", raw, revoke.ErrRevoked)
		expect("the neighbour while stale", twin, revoke.ErrStale)
		list.beat()
		expect("revoked and fresh", raw, revoke.ErrRevoked)
		expect("the neighbour, fresh again", twin, nil)
	})
}

// CVE-2025-53826, CVE-2026-30224, CVE-2026-35594: every kind of event refuses the token that it names and spares its neighbour.
func TestVerifyObeysTheDenylist(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		claims := forge.Claims(time.Now())
		raw := ed.Forge(ed.Header(), claims)
		later := time.Now().Add(6 * time.Second) // past the cutoff, in whole seconds
		for _, x := range []struct {
			event  revoke.Event
			spared string // a token that the event does not name
		}{
			{revoke.Event{Kind: revoke.KindToken, Value: "jti-secret-0003"}, ed.Forge(ed.Header(), claims.With("jti", `"other"`))},
			{revoke.Event{Kind: revoke.KindSession, Value: "sid-secret-0004"}, ed.Forge(ed.Header(), claims.With("sid", `"other"`))},
			{revoke.Event{Kind: revoke.KindSubject, Value: "sub-secret-0001"}, ed.Forge(ed.Header(), claims.With("sub", `"other"`))},
			{revoke.Event{Kind: revoke.KindSubject, Value: "sub-secret-0001", Keep: []string{"kept"}}, ed.Forge(ed.Header(), claims.With("sid", `"kept"`))},
			{revoke.Event{Kind: revoke.KindClient, Value: "client-secret-0002"}, ed.Forge(ed.Header(), claims.With("client_id", `"other"`))},
			{revoke.Event{Kind: revoke.KindTenant, Value: "tenant-secret-0005"}, ed.Forge(ed.Header(), claims.Without("tenant"))},
			{revoke.Event{Kind: revoke.KindIssuer}, ed.Forge(ed.Header(), forge.Claims(later))}, // invariant 5: issued after it
		} {
			list := forge.LocalList(t, revoke.Config{})
			v := forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
				c.Revocations, c.InsecureNoRevocations = list, false
			})
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Fatalf("%s: refused before: %v", x.event.Kind, err)
			}
			x.event.Issuer = forge.Issuer
			forge.Apply(t, list, x.event)
			claims, err := v.Verify(t.Context(), raw)
			var revoked *revoke.RevokedError
			switch {
			case claims != nil, !errors.Is(err, revoke.ErrRevoked), !errors.Is(err, token.ErrInvalidToken), errors.Is(err, token.ErrUnavailable):
				t.Errorf("%s: claims %v, error %v", x.event.Kind, claims, err)
			case !errors.As(err, &revoked) || revoked.Kind != x.event.Kind:
				t.Errorf("%s: error %v names another kind", x.event.Kind, err)
			case forge.Leaks(err.Error(), raw) != "":
				t.Errorf("%s: error %q repeats the token (invariant 10)", x.event.Kind, err)
			}
			if x.event.Kind == revoke.KindIssuer {
				time.Sleep(time.Until(later))
			}
			if _, err := v.Verify(t.Context(), x.spared); err != nil {
				t.Errorf("%s: the neighbour is refused: %v", x.event.Kind, err)
			}
		}
	})
}

// The key that verified the token counts, by thumbprint; what its header says does not.
func TestVerifyRevokedKey(t *testing.T) {
	ed, ec := forge.Ed(t, "ed", forge.Keys().Ed), forge.EC(t, "ec")
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA, token.ES256}, forge.StaticKeys(t, ed, ec)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindKey, Value: ed.Key.Thumbprint()})
	claims := forge.Claims(time.Now())
	for name, header := range map[string]forge.Object{"with kid": ed.Header(), "without kid": ed.Header().Without("kid")} {
		if _, err := v.Verify(t.Context(), ed.Forge(header, claims)); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), ec.Forge(ec.Header(), claims)); err != nil {
		t.Errorf("the other key's token is refused: %v", err)
	}
}

// A tenant is revoked by the claim that the configuration names.
func TestVerifyTenantClaim(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.TenantClaim = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), "org"
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindTenant, Value: "acme"})
	claims := forge.Claims(time.Now()).With("tenant", `7`)
	if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), claims.With("org", `"acme"`))); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("error %v", err)
	}
	if _, err := v.Verify(t.Context(), ed.Forge(ed.Header(), claims.With("org", `"other"`))); err != nil {
		t.Errorf("another tenant's token is refused: %v", err)
	}
}

// Invariant 6: no other spelling of a revoked token is valid. The ECDSA
// twin is a good signature, so only the jti stops it.
func TestRevokedInEverySpelling(t *testing.T) {
	ec := forge.EC(t, "ec")
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.ES256}, forge.StaticKeys(t, ec)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	raw := ec.Forge(ec.Header(), forge.Claims(time.Now()))
	twin := forge.Twin(t, raw)
	claims, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), twin); err != nil {
		t.Fatalf("the twin is no valid spelling, so this test shows nothing: %v", err)
	}
	event, err := revoke.TokenOf(claims.Identity())
	if err != nil {
		t.Fatal(err)
	}
	forge.Apply(t, list, event)

	for _, spelling := range []string{raw, twin} {
		if claims, err := v.Verify(t.Context(), spelling); claims != nil || !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("claims %v, error %v; want revoked", claims, err)
		}
	}
	for _, base := range []string{raw, twin} {
		parts := strings.Split(base, ".")
		for i := range parts {
			for _, change := range []func(string) string{
				nextLetter,
				func(s string) string { return s + "=" },
				func(s string) string { return s + "==" },
				func(s string) string { return s + "\n" },
				func(s string) string { return "\r\n" + s },
				func(s string) string { return s[:4] + " " + s[4:] },
				func(s string) string { return s + "." },
				func(s string) string { return s + "A" },
				func(s string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(s) },
			} {
				p := append([]string(nil), parts...)
				p[i] = change(p[i])
				spelling := strings.Join(p, ".")
				if spelling == base {
					continue
				}
				claims, err := v.Verify(t.Context(), spelling)
				if claims != nil || !(errors.Is(err, token.ErrMalformed) || errors.Is(err, token.ErrSignature) || errors.Is(err, revoke.ErrRevoked)) {
					t.Errorf("segment %d: claims %v, error %v", i, claims, err)
				}
			}
		}
	}
}

// Invariant 3 at the verifier's side: a revocation holds as long as the largest
// leeway lets its token be accepted.
func TestRevokedUntilTheEndOfTheLeeway(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), revoke.MaxLeeway
			c.Revocations, c.InsecureNoRevocations = list, false
		})
		good := forge.Claims(time.Now())
		raw, twin := ed.Forge(ed.Header(), good), ed.Forge(ed.Header(), good.With("jti", `"other"`))
		claims, err := v.Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		event, err := revoke.TokenOf(claims.Identity())
		if err != nil {
			t.Fatal(err)
		}
		forge.Apply(t, list, event)
		time.Sleep(time.Until(claims.ExpiresAt().Add(revoke.MaxLeeway - time.Millisecond)))
		if _, err := v.Verify(t.Context(), twin); err != nil {
			t.Fatalf("the neighbour's leeway has ended: %v", err)
		}
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("error %v, want revoked", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrExpired) {
			t.Errorf("error %v, want expired", err)
		}
	})
}

func TestStalePolicy(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list := forge.NewList(t, revoke.Config{}) // never fed: it can vouch for nothing
		verifier := func(p revoke.Policy) *token.Verifier {
			return forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.WhenStale = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), p
				c.Revocations, c.InsecureNoRevocations = list, false
			})
		}
		good := forge.Claims(time.Now())
		raw := ed.Forge(ed.Header(), good)
		bad := ed.Forge(ed.Header(), good.With("jti", `"revoked"`))
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindToken, Value: "revoked"})
		time.Sleep(2 * time.Minute) // the token's age

		deny, allow := verifier(revoke.Deny()), verifier(revoke.InsecureAllow())
		for _, x := range []struct {
			name string
			v    *token.Verifier
			opts []token.VerifyOption
			want error
		}{
			{"Deny", deny, nil, revoke.ErrStale},
			{"the zero policy", verifier(revoke.Policy{}), nil, revoke.ErrStale},
			{"InsecureAllow", allow, nil, nil},
			{"AllowYounger, too old", verifier(revoke.AllowYounger(time.Minute)), nil, revoke.ErrStale},
			{"AllowYounger", verifier(revoke.AllowYounger(3 * time.Minute)), nil, nil},
			{"MaxStaleness, never proven", verifier(revoke.MaxStaleness(time.Hour)), nil, revoke.ErrStale},
			{"this call allows", deny, []token.VerifyOption{token.WithStalePolicy(revoke.InsecureAllow())}, nil},
			{"this call denies", allow, []token.VerifyOption{token.WithStalePolicy(revoke.Deny())}, revoke.ErrStale},
			{"the last option counts", allow, []token.VerifyOption{token.WithStalePolicy(revoke.InsecureAllow()), token.WithStalePolicy(revoke.Deny())}, revoke.ErrStale},
			{"this call's policy is none", allow, []token.VerifyOption{token.WithStalePolicy(revoke.AllowYounger(0))}, token.ErrUnavailable},
		} {
			claims, err := x.v.Verify(t.Context(), raw, x.opts...)
			switch {
			case (err == nil) != (claims != nil):
				t.Errorf("%s: claims %v beside error %v", x.name, claims, err)
			case !errors.Is(err, x.want):
				t.Errorf("%s: error %v, want %v", x.name, err, x.want)
			case err != nil && (!errors.Is(err, token.ErrUnavailable) || errors.Is(err, token.ErrInvalidToken)):
				t.Errorf("%s: error %v is not of the family ErrUnavailable alone", x.name, err)
			case err != nil && forge.Leaks(err.Error(), raw) != "":
				t.Errorf("%s: error %q repeats the token (invariant 10)", x.name, err)
			}
			// A known revocation is refused under every policy.
			if claims, err := x.v.Verify(t.Context(), bad, x.opts...); claims != nil || err == nil {
				t.Errorf("%s: the revoked token is accepted", x.name)
			} else if x.want != token.ErrUnavailable && !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("%s: error %v, want revoked", x.name, err)
			}
		}
	})
}

// A policy that could never take effect is heard at once, not first in an outage.
func TestStalePolicyOfACallIsValidated(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
		c.Revocations, c.InsecureNoRevocations = forge.LocalList(t, revoke.Config{TokenLifetime: time.Hour}), false
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	for p, want := range map[revoke.Policy]error{
		revoke.AllowYounger(time.Hour):   token.ErrUnavailable,
		revoke.MaxStaleness(-1):          token.ErrUnavailable,
		revoke.AllowYounger(time.Minute): nil,
	} {
		if claims, err := v.Verify(t.Context(), raw, token.WithStalePolicy(p)); !errors.Is(err, want) || (claims != nil) != (want == nil) {
			t.Errorf("%s: claims %v, error %v; want %v", p, claims, err, want)
		}
	}
}

// Invariant 5's other side: a token from further ahead than two clocks may differ
// would outrun the cutoffs published before its iat (M1 of a review).
func TestIssuedAheadOfTheClock(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list := forge.LocalList(t, revoke.Config{MaxSkew: time.Second})
		for _, x := range []struct {
			leeway, ahead time.Duration
			want          error
		}{
			{time.Minute, time.Second, nil},
			{time.Minute, time.Second + time.Millisecond, token.ErrNotYetValid},
			{time.Minute, 2 * time.Second, token.ErrNotYetValid},
			{500 * time.Millisecond, 500 * time.Millisecond, nil},
			{500 * time.Millisecond, 501 * time.Millisecond, token.ErrNotYetValid},
		} {
			v := forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), x.leeway
				c.Revocations, c.InsecureNoRevocations = list, false
			})
			raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).Without("nbf").With("iat", fmt.Sprintf("%.3f", float64(time.Now().Add(x.ahead).UnixMilli())/1000)))
			if _, err := v.Verify(t.Context(), raw); !errors.Is(err, x.want) {
				t.Errorf("leeway %s, iat %s ahead: error %v, want %v", x.leeway, x.ahead, err, x.want)
			}
			// Counted and shown, by issuer.
			want := token.IssuedAhead{Accepted: 1, Furthest: x.ahead}
			if x.want != nil {
				want = token.IssuedAhead{Refused: 1, Furthest: x.ahead}
			}
			if got := v.IssuedAhead(); len(got) != 1 || got[forge.Issuer] != want {
				t.Errorf("leeway %s, iat %s ahead: counted %+v", x.leeway, x.ahead, got)
			}
		}
	})
}

// A client and a user of the same name are two. What revokes one spares the
// other, so that nobody gains by choosing a name.
func TestClientsAreNoSubjects(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	claims := forge.Claims(time.Now())
	user := ed.Forge(ed.Header(), claims.With("sub", `"same"`))
	client := ed.Forge(ed.Header(), claims.With("client_id", `"same"`))
	for _, x := range []struct {
		kind            revoke.Kind
		refused, spared string
	}{{revoke.KindSubject, user, client}, {revoke.KindClient, client, user}} {
		list := forge.LocalList(t, revoke.Config{})
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
			c.Revocations, c.InsecureNoRevocations = list, false
		})
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: x.kind, Value: "same"})
		if _, err := v.Verify(t.Context(), x.refused); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%s: error %v", x.kind, err)
		}
		if _, err := v.Verify(t.Context(), x.spared); err != nil {
			t.Errorf("%s: the namesake is refused: %v", x.kind, err)
		}
	}
}
