package web_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh/web"
)

func separate(c *web.BrowserConfig) { c.Layout = web.Separate }

// The refresh token goes to the handler's URLs alone.
func TestSeparateRefreshToken(t *testing.T) {
	s := newShop(t, separate)
	a := s.loggedIn(t)
	if c := a.cookie("-refresh"); c.Path != "/session/" || c.Name != "__Secure-session-refresh" {
		t.Errorf("the cookie %s has Path %s", c.Name, c.Path)
	}
	a.get("/page")
	if strings.Contains(a.sent.Get("Cookie"), "refresh") {
		t.Error("a page is sent the refresh token")
	}
	status(t, "refresh", a.post("/session/refresh"), 200)
	if !strings.Contains(a.sent.Get("Cookie"), "refresh") {
		t.Error("the handler is not sent the refresh token")
	}
}

// An access token that has run out sends a navigation through the handler and back, a form with
// its body; a script is told to refresh.
func TestSeparateRunOut(t *testing.T) {
	for _, x := range []struct {
		name   string
		method string
		change change
		status int
	}{
		{"a navigation", "GET", navigating, 303},
		{"a navigation by an older browser", "GET", all(silent, with("Accept", "text/html")), 303},
		{"a link on another site", "GET", all(navigating, with("Sec-Fetch-Site", "cross-site")), 303},
		{"a form", "POST", navigating, 307},
		{"a fetch", "GET", all(), 401},
		{"a fetch by POST", "POST", all(), 401},
		{"a prefetch", "GET", all(navigating, with("Sec-Purpose", "prefetch")), 503},
		{"a form on another site", "POST", all(navigating, with("Sec-Fetch-Site", "cross-site")), 403},
		{"a WebSocket", "GET", all(with("Upgrade", "websocket"), with("Origin", origin)), 401},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, separate)
				a := s.loggedIn(t)
				time.Sleep(20 * time.Minute)
				r := a.do(x.method, "/page?a=b&c=%26", x.change)
				if status(t, x.name, r, x.status); len(r.Header["Set-Cookie"]) != 0 {
					t.Error("cookies set")
				}
				if x.status != 303 && x.status != 307 {
					if r.Header.Get("Location") != "" {
						t.Errorf("sent to %q", r.Header.Get("Location"))
					}
					status(t, "refresh", a.post("/session/refresh"), 200)
					status(t, "and again", a.get("/page"), 200)
					return
				}
				if want := "/session/return?return_to=%2Fpage%3Fa%3Db%26c%3D%2526"; r.Header.Get("Location") != want {
					t.Fatalf("sent to %q, want %q", r.Header.Get("Location"), want)
				}
				r = a.do(x.method, r.Header.Get("Location"), x.change)
				if status(t, "through the handler", r, x.status); r.Header.Get("Location") != "/page?a=b&c=%26" || len(r.Header["Set-Cookie"]) != 2 {
					t.Fatalf("sent back to %q", r.Header.Get("Location"))
				}
				status(t, "back", a.do(x.method, r.Header.Get("Location"), x.change), 200)
			})
		})
	}
}

// Where the handler sends back to is a path of this site, and not one of its own.
func TestSeparateReturnsHere(t *testing.T) {
	s := newShop(t, separate)
	a := s.loggedIn(t)
	for to, want := range map[string]string{
		"/page?a": "/page?a", "": "/", "//evil.example": "/", `/\evil.example`: "/", "https://evil.example": "/", "/\t/evil.example": "/", "/%2fevil.example": "/",
		"/session/return?return_to=/page": "/", "/session/": "/", "/sessions": "/sessions", "/page\r\nX: y": "/", "javascript:alert(1)": "/",
	} {
		r := a.get("/session/return?return_to="+url.QueryEscape(to), navigating)
		if status(t, to, r, 303); r.Header.Get("Location") != want {
			t.Errorf("%q: sent to %q, want %q", to, r.Header.Get("Location"), want)
		}
	}
}

// A session that is over ends the way: at the login page if there is one, and never in a circle.
func TestSeparateSessionOver(t *testing.T) {
	for _, login := range []string{"", "/login"} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, separate, func(c *web.BrowserConfig) { c.LoginPath = login })
			a := s.loggedIn(t)
			sid := sessionOf(t, s, a)
			time.Sleep(20 * time.Minute)
			through := a.get("/page", navigating).Header.Get("Location")
			status(t, "prefetch", a.get(through, navigating, with("Sec-Purpose", "prefetch")), 503)
			s.store.set(nil, errors.New("no store"))
			status(t, "nobody knows", a.get(through, navigating), 503)
			s.store.set(nil, nil)
			if err := s.sessions.Logout(t.Context(), sid); err != nil {
				t.Fatal(err)
			}
			r := a.get(through, navigating)
			if login == "" {
				status(t, "over", r, 401)
			} else if status(t, "over", r, 303); r.Header.Get("Location") != "/login?return_to=%2Fpage" {
				t.Errorf("sent to %q", r.Header.Get("Location"))
			}
			status(t, "a stranger", s.agent(t).get(through), map[string]int{"": 401, "/login": 303}[login])
			status(t, "another site's form", a.post(through, navigating, with("Sec-Fetch-Site", "cross-site")), 403)
		})
	}
}

// A login ends the session that came along also where nothing but an access token that has run
// out names it.
func TestSeparateLoginEndsTheSessionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, separate)
		a := s.loggedIn(t)
		before := a.clone()
		time.Sleep(20 * time.Minute)
		status(t, "login", a.post("/login"), 204)
		status(t, "the session before", before.post("/session/refresh"), 401)
		status(t, "the new one", a.get("/page"), 200)

		// What nobody has signed names none.
		forged := s.agent(t)
		forged.jar = []*kept{{Cookie: &http.Cookie{Name: "__Host-Http-session", Value: a.cookie("session").Value + "x", Path: "/"}}}
		status(t, "login with a forged cookie", forged.post("/login"), 204)
		status(t, "the session that it names", a.get("/page"), 200)
	})
}
