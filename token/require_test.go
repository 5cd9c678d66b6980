package token_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// RFC 6750 section 3.1 and RFC 9470 section 3.
func TestRequirements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		synctestTable(t)
	})
}

func synctestTable(t *testing.T) {
	now := time.Now()
	type change func(*issue.Request)
	scope := func(s ...string) change { return func(r *issue.Request) { r.Scope = s } }
	login := func(age time.Duration, acr string) change {
		return func(r *issue.Request) { r.AuthTime, r.ACR = now.Add(-age), acr }
	}
	fresh := token.RequireFresh(5 * time.Minute)
	const realm = `Bearer realm="orders"`
	for _, x := range []struct {
		name      string
		opts      []token.VerifyOption
		change    change
		status    int
		challenge string
	}{
		{"a scope", []token.VerifyOption{token.RequireScope("a")}, scope("b", "a"), 200, ""},
		{"a scope missing", []token.VerifyOption{token.RequireScope("a")}, scope("b", "ab", "A"), 403, realm + `, error="insufficient_scope", scope="a"`},
		{"no scope at all", []token.VerifyOption{token.RequireScope("a")}, scope(), 403, realm + `, error="insufficient_scope", scope="a"`},
		{"one of two scopes", []token.VerifyOption{token.RequireScope("a", "b")}, scope("a"), 403, realm + `, error="insufficient_scope", scope="a b"`},
		{"two options", []token.VerifyOption{token.RequireScope("a"), token.RequireScope("b")}, scope("a"), 403, realm + `, error="insufficient_scope", scope="a b"`},
		{"both", []token.VerifyOption{token.RequireScope("a"), token.RequireScope("b")}, scope("a", "b"), 200, ""},
		{"fresh", []token.VerifyOption{fresh}, login(5*time.Minute+time.Minute, ""), 200, ""}, // the leeway is a minute
		{"not fresh", []token.VerifyOption{fresh}, login(6*time.Minute+time.Second, ""), 401, realm + `, error="insufficient_user_authentication", max_age="300"`},
		{"no auth_time", []token.VerifyOption{fresh}, scope("a"), 401, realm + `, error="insufficient_user_authentication", max_age="300"`},
		{"auth_time in the future", []token.VerifyOption{fresh}, login(-62*time.Second, ""), 401, realm + `, error="insufficient_user_authentication", max_age="300"`},
		{"the shorter of two", []token.VerifyOption{fresh, token.RequireFresh(time.Second + time.Millisecond)}, login(2*time.Minute, ""), 401, realm + `, error="insufficient_user_authentication", max_age="1"`},
		{"acr", []token.VerifyOption{token.RequireACR("gold", "silver")}, login(time.Hour, "silver"), 200, ""},
		{"another acr", []token.VerifyOption{token.RequireACR("gold", "silver")}, login(0, "bronze"), 401, realm + `, error="insufficient_user_authentication", acr_values="gold silver"`},
		{"no acr", []token.VerifyOption{token.RequireACR("gold")}, login(0, ""), 401, realm + `, error="insufficient_user_authentication", acr_values="gold"`},
		{"acr, but not fresh", []token.VerifyOption{token.RequireACR("gold"), fresh}, login(time.Hour, "gold"), 401, realm + `, error="insufficient_user_authentication", acr_values="gold", max_age="300"`},
		{"scope comes before freshness", []token.VerifyOption{fresh, token.RequireScope("a")}, login(time.Hour, ""), 403, realm + `, error="insufficient_scope", scope="a"`},
	} {
		a := newAPI(t, nil, x.opts...)
		q := forge.Request()
		q.Scope = nil
		x.change(&q)
		raw := forge.Issue(t, a.issuer, q).Raw()
		r := a.get("/", "Bearer "+raw)
		if r.StatusCode != x.status || r.Header.Get("WWW-Authenticate") != x.challenge {
			t.Errorf("%s: %d %q; want %d %q", x.name, r.StatusCode, r.Header.Get("WWW-Authenticate"), x.status, x.challenge)
		}
		if x.challenge != "" && (!bodyFits(forge.Body(t, r), x.challenge) || r.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", x.name, r.Header)
		}
		if r := a.get("/", "Bearer "+raw+"x"); !strings.HasSuffix(r.Header.Get("WWW-Authenticate"), `"invalid_token"`) {
			t.Errorf("%s: a bad token is told %q", x.name, r.Header.Get("WWW-Authenticate"))
		}
		if leak := forge.Leaks(a.logged.String(), raw); leak != "" {
			t.Errorf("%s: the log holds %q (invariant 10)", x.name, leak)
		}
	}
}

// What a token lacks is said in words, also where a claim is there in a form that nobody can use:
// "no acr" would have people look at the wrong end.
func TestRequirementsSayWhatIsWrong(t *testing.T) {
	signer := forge.Ed(t, "a", forge.Keys().Ed)
	v := verifierOf(t, forge.Issuer, signer, nil)
	now := time.Now()
	for _, x := range []struct {
		claim, value string
		opt          token.VerifyOption
		why          string
	}{
		{"acr", `"gold"`, token.RequireACR("gold"), ""},
		{"acr", `1`, token.RequireACR("gold"), "acr is not a string"},
		{"acr", `["gold"]`, token.RequireACR("gold"), "acr is not a string"},
		{"acr", ``, token.RequireACR("gold"), "no acr"},
		{"acr", `"silver"`, token.RequireACR("gold"), `acr is none of ["gold"]`},
		{"auth_time", forge.Number(now.Unix()), token.RequireFresh(time.Minute), ""},
		{"auth_time", `"` + forge.Number(now.Unix()) + `"`, token.RequireFresh(time.Minute), "auth_time is no number of seconds"},
		{"auth_time", ``, token.RequireFresh(time.Minute), "no auth_time"},
		{"auth_time", forge.Number(now.Unix() - 3600), token.RequireFresh(time.Minute), "auth_time is too long ago"},
		{"auth_time", forge.Number(now.Unix() + 3600), token.RequireFresh(time.Minute), "auth_time lies in the future"},
	} {
		claims := forge.Claims(now).Without(x.claim)
		if x.value != "" {
			claims = claims.With(x.claim, x.value)
		}
		_, err := v.Verify(t.Context(), signer.Forge(signer.Header(), claims), x.opt)
		if (err == nil) != (x.why == "") || err != nil && !strings.HasSuffix(err.Error(), x.why) {
			t.Errorf("%s %s: error %v, want %q", x.claim, x.value, err, x.why)
		}
	}
}

// What Recheck refuses is counted as what Verify refuses, by its cause, and what it accepts is not.
func TestRecheckIsCounted(t *testing.T) {
	signer := forge.Ed(t, "a", forge.Keys().Ed)
	v := verifierOf(t, forge.Issuer, signer, nil)
	c, err := v.Verify(t.Context(), signer.Forge(signer.Header(), forge.Claims(time.Now())))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := v.Recheck(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := v.Status().Refused; len(got) != min(n, 1) {
			t.Errorf("after %d refusals: %v", n, got)
		}
		err := v.Recheck(t.Context(), c, token.RequireScope("never"))
		if got := v.Status().Refused[token.Cause(err)]; got != uint64(n+1) {
			t.Errorf("%v is counted %d times of %d: %v", err, got, n+1, v.Status().Refused)
		}
	}
}

// A demand that cannot be met is heard of when the route is built; Verify accepts
// nothing under it.
func TestDemandsThatCannotTakeEffect(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	v := forge.RingVerifier(t, ring, token.EdDSA)
	q := forge.Request()
	q.Scope, q.AuthTime, q.ACR = []string{"a"}, time.Now(), "a b"
	raw := forge.Issue(t, forge.NewIssuer(t, ring, nil), q).Raw()
	panics := func(o token.VerifyOption) (panicked bool) {
		defer func() { panicked = recover() != nil }()
		v.Middleware(http.NotFoundHandler(), o)
		return
	}
	for name, o := range map[string]token.VerifyOption{
		"no scope": token.RequireScope(), "no scope-token": token.RequireScope(`a"b`), "an empty scope": token.RequireScope(""),
		"one no scope-token": token.RequireScope("a", "a b"), "no acr": token.RequireACR(), "acr with a blank": token.RequireACR("a b"),
		"no max age": token.RequireFresh(0), "a negative max age": token.RequireFresh(-time.Hour), "less than a second": token.RequireFresh(time.Second - 1),
	} {
		if c, err := v.Verify(t.Context(), raw, o); c != nil || !errors.Is(err, token.ErrUnavailable) || !panics(o) {
			t.Errorf("%s: claims %v, error %v", name, c, err)
		}
	}
	for name, o := range map[string]token.VerifyOption{"scope": token.RequireScope("a"), "fresh": token.RequireFresh(time.Minute), "nil": nil} {
		if _, err := v.Verify(t.Context(), raw, o); err != nil || panics(o) {
			t.Errorf("the good twin %s: error %v", name, err)
		}
	}
}

// A revoked token is told that it is invalid, not what else it would need.
func TestRevokedComesBeforeInsufficient(t *testing.T) {
	list := forge.LocalList(t, revoke.Config{})
	a := newAPI(t, func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = list, false }, token.RequireScope("admin"))
	issued := forge.Issue(t, a.issuer, forge.Request())
	if r := a.get("/", "Bearer "+issued.Raw()); r.StatusCode != 403 {
		t.Errorf("the good twin: %d", r.StatusCode)
	}
	event, err := revoke.TokenOf(issued.Claims().Identity())
	if err != nil {
		t.Fatal(err)
	}
	forge.Apply(t, list, event)
	if r := a.get("/", "Bearer "+issued.Raw()); r.StatusCode != 401 {
		t.Errorf("revoked: %d", r.StatusCode)
	}
}

// CVE-2026-9097: Recheck finds what changed since Verify.
func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		ring := forge.Ring(t, issue.KeyringConfig{})
		i := forge.NewIssuer(t, ring, nil)
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.Revocations, c.InsecureNoRevocations = []token.Algorithm{token.EdDSA}, ring, list, false
		})
		accepted := func(change func(*issue.Request)) *token.Claims {
			r := forge.Request()
			if change != nil {
				change(&r)
			}
			c, err := v.Verify(t.Context(), forge.Issue(t, i, r).Raw())
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		c := accepted(nil)
		if err := v.Recheck(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := v.Recheck(t.Context(), c, token.RequireScope("admin")); !errors.Is(err, token.ErrInsufficientScope) {
			t.Errorf("scope: error %v", err)
		}
		for name, c := range map[string]*token.Claims{"nil": nil, "zero": {}, "never verified": forge.Issue(t, i, forge.Request()).Claims()} {
			if err := v.Recheck(t.Context(), c); !errors.Is(err, token.ErrInvalidToken) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		old := ring.Active().ID()
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := v.Recheck(t.Context(), c); err != nil {
			t.Errorf("after a rotation: %v", err)
		}
		if err := ring.Remove(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if err := v.Recheck(t.Context(), c); !errors.Is(err, token.ErrUnknownKey) {
			t.Errorf("after its key was removed: error %v", err)
		}
		c = accepted(func(r *issue.Request) { r.Session = "one" })
		time.Sleep(10 * time.Minute)
		if err := v.Recheck(t.Context(), c); err != nil {
			t.Error(err)
		}
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSession, Value: c.SessionID()})
		if err := v.Recheck(t.Context(), c); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("revoked: error %v", err)
		}
		c = accepted(func(r *issue.Request) { r.Session = "another" })
		time.Sleep(17 * time.Minute)
		if err := v.Recheck(t.Context(), c); !errors.Is(err, token.ErrExpired) {
			t.Errorf("expired: error %v", err)
		}
	})
}

// A kid that names another key by now is no key of the token's.
func TestRecheckReplacedKey(t *testing.T) {
	one, two := forge.Ed(t, "k", forge.Keys().Ed), forge.Ed(t, "k", forge.NewEd(t))
	current := one
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms = []token.Algorithm{token.EdDSA}
		c.Keys = forge.KeySetFunc(func(context.Context, string, token.Algorithm) (*token.Key, error) { return current.Key, nil })
	})
	c, err := v.Verify(t.Context(), one.Forge(one.Header(), forge.Claims(time.Now())))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Recheck(t.Context(), c); err != nil {
		t.Error(err)
	}
	current = two
	if err := v.Recheck(t.Context(), c); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("error %v", err)
	}
}

// One Middleware around all, another around a route: a proof is used once, and the
// route's own demands hold.
func TestNestedMiddleware(t *testing.T) {
	list := forge.LocalList(t, revoke.Config{})
	ring := forge.Ring(t, issue.KeyringConfig{})
	i := forge.NewIssuer(t, ring, nil)
	d := newDPoP(t, nil)
	config := func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, ring, d
		c.Revocations, c.InsecureNoRevocations = list, false
	}
	v, stranger := forge.Verifier(t, config), forge.Verifier(t, func(c *token.VerifierConfig) { config(c); c.Audiences = []string{"billing"} })
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := token.FromContext(r.Context())
		io.WriteString(w, c.Subject())
	})
	mux := http.NewServeMux()
	mux.Handle("/orders", v.Middleware(ok, token.RequireScope("orders:read")))
	mux.Handle("/admin", v.Middleware(ok, token.RequireScope("admin")))
	mux.Handle("/revoking", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := token.FromContext(r.Context())
		forge.Apply(t, list, revoke.Event{Issuer: c.Issuer(), Kind: revoke.KindToken, Value: c.ID()})
		v.Middleware(ok).ServeHTTP(w, r)
	}))
	mux.Handle("/billing", stranger.Middleware(ok))
	mux.Handle("/other", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer opaque")
		v.Middleware(ok).ServeHTTP(w, r)
	}))
	strict := forge.Verifier(t, func(c *token.VerifierConfig) { config(c); c.RequireBinding = true })
	mux.Handle("/strict", strict.Middleware(ok))
	h := v.Middleware(mux)
	bearer := httptest.NewRequest("GET", "/strict", nil)
	bearer.Header.Set("Authorization", "Bearer "+forge.Issue(t, i, forge.Request()).Raw())
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, bearer); w.Code != 401 {
		t.Errorf("a verifier that asks for more than the one around it: %d", w.Code)
	}
	p := edProver(t)
	for path, want := range map[string]int{"/orders": 200, "/admin": 403, "/revoking": 401, "/billing": 401, "/other": 401} {
		q := forge.Request()
		q.Scope, q.Binding.KeyThumbprint = []string{"orders:read"}, p.jkt
		raw := forge.Issue(t, i, q).Raw()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "DPoP "+raw)
		r.Header.Set("DPoP", p.forge(p.header(), p.claims(raw).With("htu", `"`+proofBase+path+`"`)))
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d, want %d: %v", path, w.Code, want, w.Header())
		}
	}
}

// A token in a form is none, and where the form was read already it is told.
func TestTokenInForm(t *testing.T) {
	a := newAPI(t, nil)
	raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
	post := func(parse bool, header string) int {
		r := httptest.NewRequest("POST", "/", strings.NewReader(url.Values{"access_token": {raw}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if parse {
			if err := r.ParseForm(); err != nil {
				t.Fatal(err)
			}
		}
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		return w.Code
	}
	if code := post(false, ""); code != 401 {
		t.Errorf("in the body: %d", code)
	}
	for _, header := range []string{"", "Bearer " + raw} {
		if code := post(true, header); code != 400 {
			t.Errorf("in a form that was read: %d", code)
		}
	}
	if code := post(false, "Bearer "+raw); code != 200 { // the header alone counts
		t.Errorf("the good twin: %d", code)
	}
}
