package token_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A key that is withdrawn from a set of ours ends its remembered tokens, whichever set that is, and
// one that comes back under its name brings them back.
func TestRememberedTokenNeedsItsKeyInSetsOfOurs(t *testing.T) {
	for name, through := range map[string]func(t *testing.T, f func(*testing.T, *issue.Keyring, token.KeySet, func())){
		"ring": func(t *testing.T, f func(*testing.T, *issue.Keyring, token.KeySet, func())) {
			ring := forge.Ring(t, issue.KeyringConfig{})
			f(t, ring, ring, func() {})
		},
		"remote": func(t *testing.T, f func(*testing.T, *issue.Keyring, token.KeySet, func())) {
			remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
				f(t, ring, keys, func() {
					time.Sleep(5 * time.Minute)
					keys.Lookup(t.Context(), ring.Active().ID(), token.EdDSA)
					synctest.Wait()
				})
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			through(t, func(t *testing.T, ring *issue.Keyring, keys token.KeySet, pass func()) {
				v := forge.Verifier(t, func(c *token.VerifierConfig) {
					c.Algorithms, c.Keys, c.MaxLifetime = []token.Algorithm{token.EdDSA}, keys, 3*time.Hour
				})
				issuer := forge.NewIssuer(t, ring, func(c *issue.Config) { c.Lifetime, c.TokenLifetime = 2*time.Hour, 3*time.Hour })
				old := ring.Active().ID()
				q := forge.Request()
				raw := forge.Issue(t, issuer, q).Raw()
				claims := remembered(t, v, raw)
				pass()
				for range 3 { // by look-up, and without
					if verify(t, v, "later", raw, nil) != claims {
						t.Error("no longer remembered")
					}
				}
				if _, err := ring.Rotate(t.Context()); err != nil {
					t.Fatal(err)
				}
				pass()
				for range 3 {
					if verify(t, v, "beside another key", raw, nil) != claims {
						t.Error("no longer remembered")
					}
				}
				if err := ring.Remove(t.Context(), old); err != nil {
					t.Fatal(err)
				}
				pass()
				for range 3 {
					verify(t, v, "the key is withdrawn", raw, token.ErrUnknownKey)
				}
				next := forge.Issue(t, issuer, q).Raw()
				remembered(t, v, next)
				verify(t, v, "beside one of another key", raw, token.ErrUnknownKey)
			})
		})
	}
}

// A set that nobody can vouch for holds nothing: neither one of which nothing is of use any more,
// nor one that is closed.
func TestRememberedTokenOfASetThatIsGone(t *testing.T) {
	for name, end := range map[string]func(*keyServer, *token.RemoteKeySet){
		"emptied": func(s *keyServer, keys *token.RemoteKeySet) {
			s.answer(forge.JSON(forge.JWKS()))
			time.Sleep(5 * time.Minute)
			keys.Lookup(context.Background(), "x", token.EdDSA)
			synctest.Wait()
		},
		"closed": func(_ *keyServer, keys *token.RemoteKeySet) { keys.Close() },
		"too old": func(s *keyServer, _ *token.RemoteKeySet) {
			s.answer(status(500))
			time.Sleep(61 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			remote(t, token.RemoteKeySetConfig{}, func(t *testing.T, s *keyServer, ring *issue.Keyring, keys *token.RemoteKeySet) {
				v := forge.Verifier(t, func(c *token.VerifierConfig) {
					c.Algorithms, c.Keys, c.MaxLifetime = []token.Algorithm{token.EdDSA}, keys, 3*time.Hour
				})
				q := forge.Request()
				raw := forge.Issue(t, forge.NewIssuer(t, ring, func(c *issue.Config) { c.Lifetime, c.TokenLifetime = 2*time.Hour, 3*time.Hour }), q).Raw()
				never := forge.Issue(t, forge.NewIssuer(t, ring, func(c *issue.Config) { c.Lifetime, c.TokenLifetime = 2*time.Hour, 3*time.Hour }), q).Raw()
				remembered(t, v, raw)
				remembered(t, v, raw)
				end(s, keys)
				for range 3 {
					verify(t, v, name, raw, token.ErrKeysUnavailable)
				}
				verify(t, v, "one that is not remembered", never, token.ErrKeysUnavailable)
			})
		})
	}
}

// What was let in for the service that issued it, whatever its audience, is remembered and lets
// nobody else in.
func TestRememberedForTheIssuer(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	asIssuer := admit.AsIssuer.(token.VerifyOption)
	for name, claims := range map[string]forge.Object{
		"of another service": forge.Claims(time.Now()).With("aud", `"another"`),
		"bound to a key":     forge.Claims(time.Now()).With("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`),
	} {
		raw := ed.Forge(ed.Header(), claims)
		remembered(t, v, raw, asIssuer)
		verify(t, v, name, raw, token.ErrInvalidToken)
		verify(t, v, name+", for the issuer again", raw, nil, asIssuer)
		verify(t, v, name+", again", raw, token.ErrInvalidToken)
	}
}

// A proof beside a remembered token that is bound to no key is refused each time.
func TestRememberedBearerWithAProof(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	remembered(t, v, raw)
	verify(t, v, "with a proof", raw, token.ErrBinding, token.WithSender(token.Sender{Proof: "x.y.z", Method: "GET", URL: "https://a/"}))
}

// A remembered token from the future is counted each time that it comes, until its time has come.
func TestRememberedTokenFromTheFutureIsCounted(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
		})
		ahead := time.Now().Add(10 * time.Second)
		raw := ed.Forge(ed.Header(), forge.Claims(ahead).With("iat", forge.Number(ahead.Unix())).Without("nbf"))
		remembered(t, v, raw)
		verify(t, v, "ahead", raw, nil)
		if n := v.IssuedAhead()[forge.Issuer].Accepted; n != 3 {
			t.Errorf("counted %d times, came 3 times", n)
		}
		time.Sleep(10 * time.Second)
		verify(t, v, "in time", raw, nil)
		if n := v.IssuedAhead()[forge.Issuer].Accepted; n != 3 {
			t.Errorf("counted %d times, came 3 times too early", n)
		}
	})
}

// An event ends a remembered token in the very next call, though hits before it have found that
// nothing had happened.
func TestRememberedTokenHearsTheNextEvent(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	for i := range 200 {
		name := string(rune('a'+i%26)) + time.Duration(i).String()
		claims := forge.Claims(time.Now().Add(-time.Minute)).With("jti", `"`+name+`"`).With("sid", `"`+name+`"`).With("sub", `"`+name+`"`)
		raw := ed.Forge(ed.Header(), claims)
		for range 3 {
			verify(t, v, "before", raw, nil)
		}
		event := revoke.Event{Issuer: forge.Issuer, Kind: []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject}[i%3], Value: "another-" + name}
		forge.Apply(t, list, event)
		for range 3 {
			verify(t, v, "after an event for another", raw, nil)
		}
		event.Value = name
		forge.Apply(t, list, event)
		for range 3 {
			verify(t, v, "after its own", raw, revoke.ErrRevoked)
		}
	}
}

// What an option asks for is remembered of the token that was found to satisfy it, for that option
// alone: whatever came before, each token is refused under each option that it does not satisfy.
func TestRememberedTokenAndOptions(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	scopes := []string{"read", "write", "admin", "a", "b", "c"}
	tokens := map[string]string{}
	for i, scope := range []string{"read", "write", "read write", "read write admin a b c"} {
		tokens[scope] = ed.Forge(ed.Header(), forge.Claims(time.Now()).With("scope", `"`+scope+`"`).With("client_id", `"client-`+string(rune('a'+i))+`"`).With("acr", `"`+strings.Fields(scope)[0]+`"`))
		remembered(t, v, tokens[scope])
	}
	type route struct {
		name   string
		opts   []token.VerifyOption
		passes func(scope string) bool
	}
	var routes []route
	for _, s := range scopes {
		has := func(scope string) bool { return slices.Contains(strings.Fields(scope), s) }
		routes = append(routes, route{"scope " + s, []token.VerifyOption{token.RequireScope(s)}, has},
			route{"scope " + s + " and read", []token.VerifyOption{token.RequireScope(s), token.RequireScope("read")}, func(scope string) bool { return has(scope) && strings.Contains(scope, "read") }},
			route{"acr " + s, []token.VerifyOption{token.RequireACR(s)}, func(scope string) bool { return strings.HasPrefix(scope, s) }})
	}
	handlers := make([]http.Handler, len(routes))
	for i, r := range routes {
		handlers[i] = v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), r.opts...)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	passed, refused := 0, 0
	for range 3000 {
		i := rng.IntN(len(routes))
		r := routes[i]
		for scope, raw := range tokens { // in any order
			want := r.passes(scope)
			if rng.IntN(2) == 0 {
				req := httptest.NewRequest("GET", "/", nil)
				req.Header.Set("Authorization", "Bearer "+raw)
				w := httptest.NewRecorder()
				if handlers[i].ServeHTTP(w, req); (w.Code == 200) != want {
					t.Fatalf("%s, Middleware, a token with %q: %d", r.name, scope, w.Code)
				}
			} else if _, err := v.Verify(t.Context(), raw, r.opts...); (err == nil) != want || err != nil && !errors.Is(err, token.ErrInsufficient) {
				t.Fatalf("%s, a token with %q: %v", r.name, scope, err)
			}
			if want {
				passed++
			} else {
				refused++
			}
		}
	}
	if passed < 1000 || refused < 1000 {
		t.Errorf("%d passed, %d refused: too few to say anything", passed, refused)
	}
}

// How long ago a user was authenticated is asked each time, alone and beside what a token satisfies
// for good.
func TestRememberedTokenAgesUnderRequireFresh(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Leeway = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), time.Second
		})
		now := time.Now()
		raw := ed.Forge(ed.Header(), forge.Claims(now).With("scope", `"read"`).With("auth_time", forge.Number(now.Unix())))
		fresh, scope := token.RequireFresh(time.Minute), token.RequireScope("read")
		for _, opts := range [][]token.VerifyOption{{fresh}, {scope, fresh}} {
			h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), opts...)
			serve := func(want int) {
				t.Helper()
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", "Bearer "+raw)
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != want {
					t.Errorf("%d, want %d", w.Code, want)
				}
			}
			defer serve(401) // in the end
			for range 5 {
				verify(t, v, "at once", raw, nil, opts...)
				verify(t, v, "at once", raw, nil, scope)
				serve(200)
			}
		}
		time.Sleep(62 * time.Second)
		verify(t, v, "later", raw, token.ErrInsufficient, fresh)
		verify(t, v, "later", raw, token.ErrInsufficient, scope, fresh)
		verify(t, v, "later, with the scope alone", raw, nil, scope)
	})
}

// Many at once ask the same of the same tokens, and each gets the answer that is right.
func TestRememberedOptionsAtOnce(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()).With("scope", `"s0 s2 s4 s6"`))
	remembered(t, v, raw)
	var opts [8]token.VerifyOption
	for i := range opts {
		opts[i] = token.RequireScope("s" + string(rune('0'+i)))
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 500 {
				i := (n + g) % len(opts)
				if _, err := v.Verify(t.Context(), raw, opts[i]); (err == nil) != (i%2 == 0) {
					t.Errorf("s%d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Where a remembered token saves the Middleware a look at the form of the header, one that is
// not remembered has it looked at.
func TestMiddlewareLooksAtTheForm(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	raw := ed.Forge(ed.Header(), forge.Claims(time.Now()))
	h := v.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 2 {
		for header, want := range map[string]int{
			"Bearer " + raw: 200, "bearer   " + raw: 200, "Bearer " + raw + " ": 400, "Bearer " + raw + ",x": 400, "Bearer é" + raw: 400, "Bearer " + raw + "=": 401, "Bearer ": 400, "Bearer": 400, "Bearer =": 400,
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", header)
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != want {
				t.Errorf("%.12q…: %d, want %d", header, w.Code, want)
			}
		}
	}
}

// CVE-2026-35039: tokens that are alike in all but sub keep their own claims, in
// whatever order they come and however often.
func TestTokensAlikeAreNotMixedUp(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed)
	})
	claims := forge.Claims(time.Now())
	raw := map[string]string{}
	for _, sub := range []string{"user-1", "user-2"} {
		raw[sub] = ed.Forge(ed.Header(), claims.With("sub", `"`+sub+`"`))
	}
	for _, sub := range []string{"user-1", "user-2", "user-1", "user-1", "user-2"} {
		c, err := v.Verify(t.Context(), raw[sub])
		if err != nil || c.Subject() != sub {
			t.Errorf("%s: claims %v, error %v", sub, c, err)
		}
	}
	// One's signature under the other's claims.
	i, j := strings.LastIndexByte(raw["user-1"], '.'), strings.LastIndexByte(raw["user-2"], '.')
	if _, err := v.Verify(t.Context(), raw["user-1"][:i]+raw["user-2"][j:]); !errors.Is(err, token.ErrSignature) {
		t.Errorf("mixed: error %v", err)
	}
}
