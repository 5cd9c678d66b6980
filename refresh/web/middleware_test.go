package web_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A session from its login to its end: pages find the claims, an access token that has run out
// is no matter, and after the logout nothing lets anybody in.
func TestSession(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		t.Run(layout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, func(c *web.BrowserConfig) { c.Layout = layout })
				a := s.agent(t)
				status(t, "before the login", a.get("/page"), 401)
				status(t, "login", a.post("/login"), 204)
				r := a.get("/page")
				if status(t, "after the login", r, 200); body(r) != "hello user-1" {
					t.Errorf("page says %q", body(r))
				}
				time.Sleep(20 * time.Minute) // the access token has 15, and the session an hour
				for r := a.get("/page", navigating); ; r = a.get(r.Header.Get("Location"), navigating) {
					if r.StatusCode != http.StatusSeeOther {
						status(t, "after the access token has run out", r, 200)
						break
					}
				}
				stolen := a.clone()
				status(t, "logout", a.post("/session/logout"), 204)
				if len(a.jar) != 0 {
					t.Errorf("%d cookies are left after the logout", len(a.jar))
				}
				status(t, "after the logout", a.get("/page"), 401)
				status(t, "with the cookies of before", stolen.get("/page"), 401)
				status(t, "refreshing with them", stolen.post("/session/refresh"), 401)
			})
		})
	}
}

// The session is refreshed within the request whose access token has run out, whatever its
// method, and the answer carries both cookies; for what nobody has asked for yet, nothing is.
func TestRefreshInPassing(t *testing.T) {
	for _, x := range []struct {
		name    string
		method  string
		change  change
		status  int
		rotates bool
	}{
		{"GET", "GET", all(), 200, true},
		{"a navigation", "GET", navigating, 200, true},
		{"HEAD", "HEAD", all(), 200, true},
		{"POST", "POST", all(), 200, true},
		{"a link on another site", "GET", all(navigating, with("Sec-Fetch-Site", "cross-site")), 200, true},
		{"another purpose", "GET", with("Sec-Purpose", "something"), 200, true},
		{"prefetch", "GET", with("Sec-Purpose", "prefetch"), 503, false},
		{"prerender", "GET", all(navigating, with("Sec-Purpose", "prefetch;prerender")), 503, false},
		{"prefetch of an older browser", "GET", with("Purpose", "prefetch"), 503, false},
		{"prefetch of an older Firefox", "GET", with("X-Moz", "prefetch"), 503, false},
		{"POST of another site", "POST", with("Sec-Fetch-Site", "cross-site"), 403, false},
		{"WebSocket", "GET", all(with("Upgrade", "websocket"), with("Origin", origin)), 401, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t)
				a := s.loggedIn(t)
				before := a.cookie("-refresh").Value
				time.Sleep(16 * time.Minute)
				if a.cookie("session") != nil {
					t.Fatal("the access cookie outlives its token")
				}
				status(t, x.name, a.do(x.method, "/page", x.change), x.status)
				rotated := a.cookie("-refresh").Value != before
				if rotated != x.rotates || (a.cookie("session") != nil) != x.rotates {
					t.Errorf("rotated %t, want %t", rotated, x.rotates)
				}
				if !x.rotates { // and no harm is done
					status(t, "a request afterwards", a.get("/page"), 200)
				}
			})
		})
	}
}

// An access token that is refused though it has not run out is refreshed, too: its key may
// have been retired. A session that is over is not.
func TestRefusedTokenIsRefreshed(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	access := a.cookie("session")
	good := access.Value
	access.Value = "nonsense"
	status(t, "with a broken access token", a.get("/page"), 200)
	if v := a.cookie("session").Value; v == "nonsense" || v == good {
		t.Error("the access cookie is not a new one")
	}
	if err := s.sessions.Logout(t.Context(), sessionOf(t, s, a)); err != nil {
		t.Fatal(err)
	}
	status(t, "of a session that is over", a.get("/page"), 401)
}

func sessionOf(t *testing.T, s *shop, a *agent) string {
	t.Helper()
	c, err := s.verifier.Verify(t.Context(), a.cookie("session").Value)
	if err != nil {
		t.Fatal(err)
	}
	return c.SessionID()
}

// What is refused is refused as the Verifier's own Middleware does it, to the byte.
func TestRefusalsAreTheVerifiers(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	a.jar = a.jar[:1] // no refresh token: nothing is refreshed
	good := a.cookie("session").Value
	foreign := newShop(t).loggedIn(t).cookie("session").Value
	never := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let in") })
	for _, x := range []struct {
		name   string
		raw    string
		opts   []token.VerifyOption
		status int
	}{
		{"no token", "", nil, 401},
		{"nonsense", "abc", nil, 401},
		{"of another issuer", foreign, nil, 401},
		{"scope", good, []token.VerifyOption{token.RequireScope("admin")}, 403},
		{"acr", good, []token.VerifyOption{token.RequireACR("gold")}, 401},
		{"both", good, []token.VerifyOption{token.RequireACR("gold"), token.RequireFresh(time.Minute)}, 401},
		{"nobody knows", good, nil, 503},
	} {
		verifier, browser := s.verifier, s.Browser
		if x.status == 503 {
			verifier, browser = staleVerifier(t, s)
		}
		send := func(h http.Handler, name, value string) *http.Response {
			r := httptest.NewRequest("GET", "/", nil)
			if x.raw != "" {
				r.Header.Set(name, value+x.raw)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		want := send(verifier.Middleware(never, x.opts...), "Authorization", "Bearer ")
		got := send(browser.Middleware(never, x.opts...), "Cookie", "__Host-Http-session=")
		if status(t, x.name, got, x.status); got.StatusCode != want.StatusCode || body(got) != body(want) {
			t.Errorf("%s: %d %q, want %d %q", x.name, got.StatusCode, body(got), want.StatusCode, body(want))
		}
		for name := range want.Header {
			if got.Header.Get(name) != want.Header.Get(name) {
				t.Errorf("%s: %s %q, want %q", x.name, name, got.Header.Get(name), want.Header.Get(name))
			}
		}
	}
	passes := httptest.NewRequest("GET", "/", nil)
	passes.Header.Set("Cookie", "__Host-Http-session="+good)
	let := false
	s.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { let = true }), token.RequireScope("read")).ServeHTTP(httptest.NewRecorder(), passes)
	if !let {
		t.Error("a good token is not let in")
	}
}

// staleVerifier returns a verifier whose denylist nobody feeds, and a Browser with it.
func staleVerifier(t *testing.T, s *shop) (*token.Verifier, *web.Browser) {
	t.Helper()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuerName, Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: s.ring, Revocations: list,
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := web.NewBrowser(web.BrowserConfig{Sessions: s.sessions, Verifier: v, Client: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	return v, b
}

// An access token in a header is not looked at, and one in a cookie is none for the Verifier.
func TestOnlyTheCookieCounts(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	raw := a.cookie("session").Value
	status(t, "in a header", s.agent(t).get("/page", with("Authorization", "Bearer "+raw)), 401)
	status(t, "beside a header of nonsense", a.get("/page", with("Authorization", "Bearer nonsense")), 200)
	w := httptest.NewRecorder()
	s.verifier.Middleware(http.NotFoundHandler()).ServeHTTP(w, a.request("GET", "/page"))
	if w.Code != 401 {
		t.Errorf("the Verifier takes a cookie: %d", w.Code)
	}
}

// The context of a request that outlives its token ends with it, as it does behind the Verifier.
func TestRequestEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		sid := sessionOf(t, s, a)
		entered, cause := make(chan struct{}), make(chan error)
		s.page = func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
		}
		go a.get("/page")
		<-entered
		time.Sleep(time.Minute)
		if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: revoke.KindSession, Value: sid}); err != nil {
			t.Fatal(err)
		}
		if err := <-cause; !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("the request ended with %v", err)
		}
	})
}

// A route within another demands more, and neither reads the cookies, nor refreshes, again.
func TestMiddlewareWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		for _, x := range []struct {
			opt  token.VerifyOption
			want int
		}{{token.RequireScope("read"), 200}, {token.RequireScope("admin"), 403}, {token.RequireFresh(time.Minute), 401}} {
			s.page = s.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c, ok := token.FromContext(r.Context()); !ok || c.Subject() != "user-1" {
					t.Error("no claims")
				}
			}), x.opt).ServeHTTP
			time.Sleep(16 * time.Minute)
			r := a.get("/page")
			status(t, "within", r, x.want)
			if n := len(r.Header["Set-Cookie"]); n != 2 {
				t.Errorf("%d cookies set", n)
			}
		}
		other := newShop(t)
		s.page = other.Middleware(http.NotFoundHandler()).ServeHTTP
		status(t, "another application's", a.get("/page"), 401)
	})
}

// A page that the application lets be cached is, unless the answer carries cookies. The writer
// that the handler gets then still flushes and copies.
func TestAnswersWithCookiesAreNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		for _, write := range []func(http.ResponseWriter){
			func(w http.ResponseWriter) { w.WriteHeader(201) },
			func(w http.ResponseWriter) {
				w.WriteHeader(103)
				w.Header().Set("Cache-Control", "public")
				w.WriteHeader(201)
			},
			func(w http.ResponseWriter) { w.Write([]byte("page")) },
			func(w http.ResponseWriter) { io.WriteString(w, "page") },
			func(w http.ResponseWriter) { io.Copy(w, strings.NewReader("page")) },
			func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
			func(w http.ResponseWriter) {
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
			},
		} {
			s.page = func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=3600")
				write(w)
			}
			if r := a.get("/page"); r.Header.Get("Cache-Control") == "no-store" || len(r.Header["Set-Cookie"]) != 0 {
				t.Errorf("a page without cookies is not the handler's to keep: %q, %d cookies", r.Header.Get("Cache-Control"), len(r.Header["Set-Cookie"]))
			}
			time.Sleep(16 * time.Minute)
			if r := a.get("/page"); r.Header.Get("Cache-Control") != "no-store" || len(r.Header["Set-Cookie"]) != 2 {
				t.Errorf("a page with cookies: %q, %d cookies", r.Header.Get("Cache-Control"), len(r.Header["Set-Cookie"]))
			}
		}
	})
}

// What the application's handler answers and how it fails is its own.
func TestHandlersErrorsAreTheirOwn(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	s.page = func(w http.ResponseWriter, r *http.Request) { http.Error(w, "teapot", http.StatusTeapot) }
	r := a.get("/page")
	if status(t, "teapot", r, http.StatusTeapot); body(r) != "teapot\n" {
		t.Errorf("body %q", body(r))
	}
	s.page = func(http.ResponseWriter, *http.Request) { panic("mine") }
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	a.get("/page")
}

// A navigation without a session is sent to the login page, if there is one, and from there
// back; what a script fetches is not.
func TestLoginPath(t *testing.T) {
	s := newShop(t, func(c *web.BrowserConfig) { c.LoginPath = "/login" })
	for _, x := range []struct {
		name     string
		method   string
		target   string
		change   change
		status   int
		location string
	}{
		{"a navigation", "GET", "/page?a=b&c=%2Fd", navigating, 303, "/login?return_to=%2Fpage%3Fa%3Db%26c%3D%252Fd"},
		{"a form", "POST", "/page?a", navigating, 303, "/login"},
		{"an old browser's navigation", "GET", "/page", all(silent, with("Accept", "text/html")), 303, "/login?return_to=%2Fpage"},
		{"a fetch", "GET", "/page", all(), 401, ""},
		{"a prefetch", "GET", "/page", all(navigating, with("Sec-Purpose", "prefetch")), 401, ""},
		{"curl", "GET", "/page", silent, 401, ""},
	} {
		r := s.agent(t).do(x.method, x.target, x.change)
		if status(t, x.name, r, x.status); r.Header.Get("Location") != x.location {
			t.Errorf("%s: sent to %q, want %q", x.name, r.Header.Get("Location"), x.location)
		}
	}
}

// A configuration that cannot be safe is refused, by the name of the field.
func TestBrowserConfig(t *testing.T) {
	s := newShop(t)
	good := func() web.BrowserConfig {
		return web.BrowserConfig{Sessions: s.sessions, Verifier: s.verifier, Client: "shop"}
	}
	if _, err := web.NewBrowser(good()); err != nil {
		t.Fatal(err)
	}
	for field, changes := range map[string][]func(*web.BrowserConfig){
		"Sessions": {func(c *web.BrowserConfig) { c.Sessions = nil }},
		"Verifier": {func(c *web.BrowserConfig) { c.Verifier = nil }},
		"Client":   {func(c *web.BrowserConfig) { c.Client = "" }},
		"Layout":   {func(c *web.BrowserConfig) { c.Layout = 2 }, func(c *web.BrowserConfig) { c.Layout = -1 }},
		"Path": {
			func(c *web.BrowserConfig) { c.Path = "/" }, func(c *web.BrowserConfig) { c.Path = "session/" }, func(c *web.BrowserConfig) { c.Path = "/session" },
			func(c *web.BrowserConfig) { c.Path = "/a//b/" }, func(c *web.BrowserConfig) { c.Path = "/a/../b/" }, func(c *web.BrowserConfig) { c.Path = "/{x}/" },
			func(c *web.BrowserConfig) { c.Path = `/"/` }, func(c *web.BrowserConfig) { c.Path = "/a;b/" },
		},
		"Name":           {func(c *web.BrowserConfig) { c.Name = "a=b" }, func(c *web.BrowserConfig) { c.Name = "a;" }, func(c *web.BrowserConfig) { c.Name = strings.Repeat("a", 65) }},
		"LoginPath":      {func(c *web.BrowserConfig) { c.LoginPath = "https://login.example" }, func(c *web.BrowserConfig) { c.LoginPath = "//login.example" }, func(c *web.BrowserConfig) { c.LoginPath = "/session/login" }, func(c *web.BrowserConfig) { c.LoginPath = "/login?a=b" }},
		"TrustedOrigins": {func(c *web.BrowserConfig) { c.TrustedOrigins = []string{"www.example"} }},
		"CSRFKey":        {func(c *web.BrowserConfig) { c.CSRFKey = make([]byte, 31) }, func(c *web.BrowserConfig) { c.CSRFKey = make([]byte, 32) }, func(c *web.BrowserConfig) { c.CSRFKey = []byte{} }},
	} {
		for i, change := range changes {
			cfg := good()
			change(&cfg)
			if _, err := web.NewBrowser(cfg); err == nil || !strings.Contains(err.Error(), "field "+field) {
				t.Errorf("%s, %d: error %v", field, i, err)
			}
		}
	}
	for _, x := range []func(){func() { s.Middleware(nil) }, func() { s.GuardLogin(nil) }, func() { s.Middleware(s, token.RequireScope()) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			x()
		}()
	}
}

// AccessToken is the token that a request was let in with, also where the browser sent another,
// and nothing outside of the Browser's own Middleware.
func TestAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		var got, inner string
		s.page = func(w http.ResponseWriter, r *http.Request) {
			got = s.AccessToken(r)
			s.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inner = s.AccessToken(r) })).ServeHTTP(w, r)
		}
		a := s.loggedIn(t)
		status(t, "page", a.get("/page"), 200)
		if first := a.cookie("session").Value; got != first || inner != first {
			t.Error("the token is not that of the cookie")
		}
		time.Sleep(16 * time.Minute)
		sent := a.clone().jar
		status(t, "page", a.get("/page"), 200)
		anew := a.cookie("session").Value
		if got != anew || inner != anew || slices.ContainsFunc(sent, func(c *kept) bool { return c.Value == got }) {
			t.Error("the token is not the new one")
		}
		other := newShop(t)
		if s.AccessToken(a.request("GET", "/page")) != "" {
			t.Error("a request that no Middleware has let in has a token")
		}
		s.page = func(w http.ResponseWriter, r *http.Request) { got = other.AccessToken(r) }
		status(t, "page", a.get("/page"), 200)
		if got != "" {
			t.Error("another Browser has the token")
		}
	})
}
