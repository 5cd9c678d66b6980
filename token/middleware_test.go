package token_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An api is a service behind the middleware, and what it answered and logged.
type api struct {
	h      http.Handler
	ring   *issue.Keyring
	issuer *issue.Issuer
	logged bytes.Buffer
	passed int
	claims *token.Claims
}

func newAPI(t testing.TB, change func(*token.VerifierConfig), opts ...token.VerifyOption) *api {
	t.Helper()
	a := &api{ring: forge.Ring(t, issue.KeyringConfig{})}
	a.issuer = forge.NewIssuer(t, a.ring, nil)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.EdDSA}, a.ring
		c.Logger = slog.New(slog.NewTextHandler(&a.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if change != nil {
			change(c)
		}
	})
	a.logged.Reset()
	a.h = v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.passed++
		a.claims, _ = token.FromContext(r.Context())
		io.WriteString(w, "ok")
	}), opts...)
	return a
}

func (a *api) get(target string, authorization ...string) *http.Response {
	r := httptest.NewRequest("GET", target, nil)
	if len(authorization) > 0 {
		r.Header["Authorization"] = authorization
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	return w.Result()
}

func TestMiddlewareAccepts(t *testing.T) {
	a := newAPI(t, nil)
	raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
	for _, header := range []string{"Bearer " + raw, "bearer " + raw, "BEARER " + raw, "Bearer   " + raw} {
		a.claims = nil
		if r := a.get("/orders?a=b&access=1", header); r.StatusCode != 200 || a.claims == nil || a.claims.Subject() != "user-1" {
			t.Errorf("%s…: %d, claims %v", header[:8], r.StatusCode, a.claims)
		}
	}
	if a.logged.Len() != 0 {
		t.Errorf("logged %q", &a.logged)
	}
}

// RFC 6750 section 3.1 as a golden table. CVE-2026-34969: one way to send a token, once.
func TestMiddlewareChallenges(t *testing.T) {
	a := newAPI(t, nil)
	raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
	const realm = `Bearer realm="orders"`
	for _, x := range []struct {
		name          string
		target        string
		authorization []string
		status        int
		challenge     string
	}{
		{"no token", "/", nil, 401, realm},
		{"another scheme", "/", []string{"Basic bWU6c2VjcmV0"}, 401, realm},
		{"a scheme that begins like ours", "/", []string{"Bearers " + raw}, 401, realm},
		{"DPoP", "/", []string{"DPoP " + raw}, 401, realm},
		{"the token alone", "/", []string{raw}, 401, realm},
		{"empty header", "/", []string{""}, 401, realm},
		{"no token68", "/", []string{"Bearer"}, 400, realm + `, error="invalid_request"`},
		{"blank", "/", []string{"Bearer  "}, 400, realm + `, error="invalid_request"`},
		{"tab", "/", []string{"Bearer \t" + raw}, 400, realm + `, error="invalid_request"`},
		{"more after it", "/", []string{"Bearer " + raw + " x"}, 400, realm + `, error="invalid_request"`},
		{"two in one", "/", []string{"Bearer " + raw + ", Bearer " + raw}, 400, realm + `, error="invalid_request"`},
		{"parameters", "/", []string{`Bearer token="` + raw + `"`}, 400, realm + `, error="invalid_request"`},
		{"only padding", "/", []string{"Bearer =="}, 400, realm + `, error="invalid_request"`},
		{"beyond ASCII", "/", []string{"Bearer é"}, 400, realm + `, error="invalid_request"`},
		{"two headers", "/", []string{"Bearer " + raw, "Bearer " + raw}, 400, realm + `, error="invalid_request"`},
		{"two headers, one not ours", "/", []string{"Basic bWU6", "Bearer " + raw}, 400, realm + `, error="invalid_request"`},
		{"in the query", "/?access_token=" + raw, nil, 400, realm + `, error="invalid_request"`},
		{"in the query, escaped", "/?a=1&access%5Ftoken=" + raw, nil, 400, realm + `, error="invalid_request"`},
		{"in the query, after nonsense", "/?%zz&access_token=" + raw, nil, 400, realm + `, error="invalid_request"`},
		{"in the query, empty", "/?access_token", nil, 400, realm + `, error="invalid_request"`},
		{"in both", "/?access_token=" + raw, []string{"Bearer " + raw}, 400, realm + `, error="invalid_request"`},
		{"no JWT", "/", []string{"Bearer opaque"}, 401, realm + `, error="invalid_token"`},
		{"padded", "/", []string{"Bearer " + raw + "="}, 401, realm + `, error="invalid_token"`},
	} {
		r := a.get(x.target, x.authorization...)
		if r.StatusCode != x.status || r.Header.Get("WWW-Authenticate") != x.challenge || len(r.Header["Www-Authenticate"]) != 1 {
			t.Errorf("%s: %d %q; want %d %q", x.name, r.StatusCode, r.Header["Www-Authenticate"], x.status, x.challenge)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Retry-After") != "" || !bodyFits(forge.Body(t, r), x.challenge) {
			t.Errorf("%s: %v", x.name, r.Header)
		}
		if leak := forge.Leaks(a.logged.String(), raw); leak != "" {
			t.Fatalf("%s: the log holds %q (invariant 10)", x.name, leak)
		}
	}
	if a.passed != 0 {
		t.Errorf("%d requests passed", a.passed)
	}
	if r := a.get("/", "Bearer "+raw); r.StatusCode != 200 {
		t.Errorf("the good twin: %d", r.StatusCode)
	}
}

// All classes of refusal look alike from outside; the log tells them apart and
// holds no token (CVE-2026-44883, CVE-2026-40945, invariant 10).
func TestMiddlewareTellsNoReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := forge.LocalList(t, revoke.Config{})
		a := newAPI(t, func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = list, false })
		expired := forge.Issue(t, a.issuer, forge.Request())
		time.Sleep(16 * time.Minute)
		good := forge.Issue(t, a.issuer, forge.Request())
		revoked := forge.Issue(t, a.issuer, forge.Request())
		event, err := revoke.TokenOf(revoked.Claims().Identity())
		if err != nil {
			t.Fatal(err)
		}
		forge.Apply(t, list, event)
		audience, future := forge.Request(), forge.Request()
		audience.Audience = []string{"billing"}
		future.NotBefore = time.Now().Add(2 * time.Minute)
		foreign := forge.NewIssuer(t, a.ring, func(c *issue.Config) { c.Issuer += "/" })
		stranger := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil)
		var first string
		for reason, raw := range map[string]string{
			"malformed token":        "A.B",
			"unknown key":            forge.Issue(t, stranger, forge.Request()).Raw(),
			"bad signature":          good.Raw()[:len(good.Raw())-4] + "AAAA",
			"wrong issuer":           forge.Issue(t, foreign, forge.Request()).Raw(),
			"wrong audience":         forge.Issue(t, a.issuer, audience).Raw(),
			"expired":                expired.Raw(),
			"not yet valid":          forge.Issue(t, a.issuer, future).Raw(),
			"token revoked by token": revoked.Raw(),
		} {
			a.logged.Reset()
			r := a.get("/", "Bearer "+raw)
			answer := fmt.Sprint(r.Status, r.Header, forge.Body(t, r))
			if r.StatusCode != 401 || !strings.HasSuffix(r.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%s: %s", reason, answer)
			}
			if first == "" {
				first = answer
			}
			if answer != first {
				t.Errorf("%s is answered %s, others %s", reason, answer, first)
			}
			if !strings.Contains(a.logged.String(), reason) {
				t.Errorf("%s: logged %q", reason, &a.logged)
			}
			if leak := forge.Leaks(a.logged.String(), raw); leak != "" {
				t.Errorf("%s: the log holds %q", reason, leak)
			}
		}
		if r := a.get("/", "Bearer "+good.Raw()); r.StatusCode != 200 {
			t.Errorf("the good twin: %d", r.StatusCode)
		}
	})
}

// "Cannot know" is 503 with Retry-After, never 401: clients throw a token away that
// may be good.
func TestMiddlewareUnavailable(t *testing.T) {
	stale := forge.NewList(t, revoke.Config{})
	for name, x := range map[string]struct {
		change func(*token.VerifierConfig)
		opts   []token.VerifyOption
		want   int
	}{
		"stale denylist":               {func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = stale, false }, nil, 503},
		"stale denylist, allowed here": {func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = stale, false }, []token.VerifyOption{token.WithStalePolicy(revoke.InsecureAllow())}, 200},
		"unknown here, unavailable there": {func(c *token.VerifierConfig) {
			c.Keys = failingKeys(errors.Join(token.ErrUnknownKey, token.ErrKeysUnavailable))
		}, nil, 503},
		"keys unavailable":            {func(c *token.VerifierConfig) { c.Keys = failingKeys(token.ErrKeysUnavailable) }, nil, 503},
		"an error of a key set's own": {func(c *token.VerifierConfig) { c.Keys = failingKeys(io.ErrUnexpectedEOF) }, nil, 503},
		"unknown key":                 {func(c *token.VerifierConfig) { c.Keys = failingKeys(token.ErrUnknownKey) }, nil, 401},
		"everything in order":         {nil, nil, 200},
	} {
		a := newAPI(t, x.change, x.opts...)
		raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
		r := a.get("/", "Bearer "+raw)
		if r.StatusCode != x.want {
			t.Errorf("%s: %d, want %d; logged %q", name, r.StatusCode, x.want, &a.logged)
		}
		if x.want == 503 {
			if r.Header.Get("Retry-After") == "" || r.Header["Www-Authenticate"] != nil || r.Header.Get("Cache-Control") != "no-store" || !bodyFits(forge.Body(t, r), `, error="temporarily_unavailable"`) {
				t.Errorf("%s: %v", name, r.Header)
			}
			if !strings.Contains(a.logged.String(), "level=WARN") || forge.Leaks(a.logged.String(), raw) != "" {
				t.Errorf("%s: logged %q", name, &a.logged)
			}
		}
	}
}

// bodyFits reports whether an answer's body is JSON that names the challenge's error,
// and advice; an answer without an error has no body.
func bodyFits(body, challenge string) bool {
	_, code, _ := strings.Cut(challenge, `error="`)
	if code, _, _ = strings.Cut(code, `"`); code == "" {
		return body == ""
	}
	var got map[string]string
	err := json.Unmarshal([]byte(body), &got)
	return err == nil && len(got) == 2 && got["error"] == code && len(got["error_description"]) > 10
}

func failingKeys(err error) token.KeySet {
	return forge.KeySetFunc(func(context.Context, string, token.Algorithm) (*token.Key, error) { return nil, err })
}

func TestMiddlewareRealm(t *testing.T) {
	for audience, want := range map[string]string{
		"orders":    `Bearer realm="orders"`,
		`a"b\c`:     `Bearer realm="a\"b\\c"`,
		"größe":     `Bearer`,
		"a\r\nb: c": `Bearer`,
	} {
		a := newAPI(t, func(c *token.VerifierConfig) { c.Audiences = []string{audience} })
		if r := a.get("/"); r.Header.Get("WWW-Authenticate") != want {
			t.Errorf("%q: %q, want %q", audience, r.Header.Get("WWW-Authenticate"), want)
		}
		if r := a.get("/", "Bearer x"); !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), want) || !strings.HasSuffix(r.Header.Get("WWW-Authenticate"), ` error="invalid_token"`) {
			t.Errorf("%q: %q", audience, r.Header.Get("WWW-Authenticate"))
		}
	}
}

func TestFromContext(t *testing.T) {
	if c, ok := token.FromContext(t.Context()); c != nil || ok {
		t.Errorf("claims %v from nothing", c)
	}
	if c, ok := token.FromContext(token.NewContext(t.Context(), nil)); c != nil || ok {
		t.Errorf("claims %v from nil", c)
	}
	claims := forge.Issue(t, forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil), forge.Request()).Claims()
	if c, ok := token.FromContext(token.NewContext(t.Context(), claims)); c != claims || !ok {
		t.Errorf("claims %v", c)
	}
}

// The whole way over sockets: keys served, token sent, claims found.
func TestMiddlewareEndToEnd(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	auth := httptest.NewServer(ring)
	defer auth.Close()
	keys, err := token.NewRemoteKeySet(t.Context(), auth.URL, token.RemoteKeySetConfig{InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	service := httptest.NewServer(forge.RingVerifier(t, keys, token.EdDSA).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := token.FromContext(r.Context())
		io.WriteString(w, c.Subject())
	})))
	defer service.Close()
	get := func(raw string) (int, string) {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", service.URL, nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, forge.Body(t, resp)
	}
	i := forge.NewIssuer(t, ring, nil)
	if code, text := get(forge.Issue(t, i, forge.Request()).Raw()); code != 200 || text != "user-1" {
		t.Errorf("%d %q", code, text)
	}
	if _, err := ring.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _ := get(forge.Issue(t, i, forge.Request()).Raw()); code != 200 { // the new key is fetched
		t.Errorf("after a rotation: %d", code)
	}
	// While a usable set is held a stranger's key is unknown, and no fetch finds out so soon.
	if code, _ := get(forge.Issue(t, forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil), forge.Request()).Raw()); code != 401 {
		t.Errorf("another ring's token: %d", code)
	}
}

// A route that could only ever answer 503 is heard of when it is built.
func TestMiddlewareRefusesABadPolicy(t *testing.T) {
	defer func() {
		if r := recover(); r == nil {
			t.Error("a policy that cannot take effect is taken")
		}
	}()
	newAPI(t, nil, token.WithStalePolicy(revoke.AllowYounger(-1)))
}

// A verifier that is configured for another issuer, audience or lifetime than its
// tokens have says so where people look, and what it wants.
func TestMiddlewareWarnsOfStrays(t *testing.T) {
	for want, change := range map[string]func(*token.VerifierConfig){
		`iss is not \"https://auth.example.com/\"`: func(c *token.VerifierConfig) { c.Issuer += "/" },
		`aud holds none of [\"invoices\"]`:         func(c *token.VerifierConfig) { c.Audiences = []string{"invoices"} },
		"exp − iat is more than 1m0s":              func(c *token.VerifierConfig) { c.MaxLifetime = time.Minute },
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAPI(t, change)
			raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
			for range 120 {
				a.get("/", "Bearer "+raw)
				time.Sleep(time.Second)
			}
			logged := a.logged.String()
			if n := strings.Count(logged, "level=WARN"); n < 2 || n > 3 || !strings.Contains(logged, want) {
				t.Errorf("%d warnings: %.2000s", n, logged)
			}
		})
	}
	a := newAPI(t, nil)
	a.get("/", "Bearer "+forge.Issue(t, a.issuer, forge.Request()).Raw())
	if strings.Contains(a.logged.String(), "level=WARN") {
		t.Errorf("a good token: %s", &a.logged)
	}
}

// An outage brings a line a second, not a line a request.
func TestMiddlewareWarnsOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(t, func(c *token.VerifierConfig) { c.Keys = failingKeys(token.ErrKeysUnavailable) })
		raw := forge.Issue(t, a.issuer, forge.Request()).Raw()
		for range 1000 {
			a.get("/", "Bearer "+raw)
		}
		time.Sleep(time.Second)
		a.get("/", "Bearer "+raw)
		if n := strings.Count(a.logged.String(), "level=WARN"); n != 2 || !strings.Contains(a.logged.String(), "unreported=999") {
			t.Errorf("%d warnings: %s", n, &a.logged)
		}
	})
}

// A request that a program made by hand, without a URL, is judged by its header.
func TestRequestWithoutURL(t *testing.T) {
	dpop, err := token.NewDPoP(token.DPoPConfig{BaseURL: "https://api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	a := newAPI(t, func(c *token.VerifierConfig) { c.DPoP = dpop })
	for header, want := range map[string]int{"Bearer " + forge.Issue(t, a.issuer, forge.Request()).Raw(): 200, "Bearer x": 401, "": 401} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL, r.RequestURI = nil, ""
		r.Header.Set("Authorization", header)
		w := httptest.NewRecorder()
		a.h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%.10s…: %d, want %d", header, w.Code, want)
		}
	}
}

// What cannot take effect panics when the route is made, and not at the first request.
func TestMiddlewareWithoutAHandler(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	v := verifierOf(t, "https://a.example.com", ed, nil)
	for _, next := range []http.Handler{nil, http.NotFoundHandler()} {
		func() {
			defer func() {
				if p := recover(); (p != nil) != (next == nil) {
					t.Errorf("handler %v: panic %v", next, p)
				}
			}()
			v.Middleware(next)
		}()
	}
	if err := v.CheckOptions(token.RequireScope("a")); err != nil {
		t.Error(err)
	}
	if err := v.CheckOptions(token.RequireACR()); err == nil {
		t.Error("an option without effect")
	}
}
