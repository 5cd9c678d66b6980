package web_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// Requests that would change something are let in by what they say of where they come from.
func TestCrossSite(t *testing.T) {
	s := newShop(t, func(c *web.BrowserConfig) { c.TrustedOrigins = []string{"https://www.example"} })
	a := s.loggedIn(t)
	from := func(site, origin string) change {
		return func(r *http.Request) {
			silent(r)
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
		}
	}
	for _, x := range []struct {
		name   string
		change change
		status int
	}{
		{"same origin", from("same-origin", origin), 200},
		{"the user's own doing", from("none", ""), 200},
		{"an older browser", from("", origin), 200},
		{"a form without a referrer", from("same-origin", "null"), 200},
		{"a trusted origin", from("cross-site", "https://www.example"), 200},
		{"a trusted origin by an older browser", from("", "https://www.example"), 200},
		{"another site", from("cross-site", "https://evil.example"), 403},
		{"a sibling", from("same-site", "https://blog.shop.example"), 403},
		{"another port", from("same-site", origin+":8443"), 403},
		{"another site without an origin", from("cross-site", ""), 403},
		{"a sandboxed frame", from("cross-site", "null"), 403},
		{"another site by an older browser", from("", "https://evil.example"), 403},
		{"a sandboxed frame by an older browser", from("", "null"), 403},
		{"a name that begins like ours", from("", "https://shop.example.evil.example"), 403},
		{"what no browser says", from("anything", origin), 403},
	} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			status(t, method+" "+x.name, a.do(method, "/page", x.change), x.status)
		}
		want := 200
		if x.status == 403 {
			want = 403
		}
		b := s.loggedIn(t)
		status(t, "refresh, "+x.name, b.post("/session/refresh", x.change), want)
		if x.status == 403 {
			status(t, "logout, "+x.name, b.post("/session/logout", x.change), 403)
			status(t, "logout everywhere, "+x.name, b.post("/session/logout-everywhere", x.change), 403)
			status(t, "login, "+x.name, b.post("/login", x.change), 403)
			status(t, "the session", b.get("/page"), 200)
		}
		status(t, "a link, "+x.name, a.get("/page", x.change), 200)
	}
	if s.visits == 0 {
		t.Error("nobody was let in")
	}
}

// Where neither Sec-Fetch-Site nor Origin comes, a token decides that is bound to the session.
func TestCSRFToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		good, stolen := a.sessions().CSRF, s.loggedIn(t).sessions().CSRF
		if len(good) != 64 || good == a.sessions().CSRF {
			t.Errorf("tokens of %d characters, the same at each call", len(good))
		}
		key := newShop(t, func(c *web.BrowserConfig) { c.CSRFKey = []byte(strings.Repeat("another key of 32 bytes", 2)) })
		foreign := key.loggedIn(t).sessions().CSRF
		flipped := "A"
		if good[0] == 'A' {
			flipped = "B"
		}
		for _, x := range []struct {
			name   string
			change change
			status int
		}{
			{"in the header", with(web.CSRFHeader, good), 200},
			{"in the form", form(web.CSRFField + "=" + good + "&a=b"), 200},
			{"none", all(), 403},
			{"empty", with(web.CSRFHeader, ""), 403},
			{"another session's", with(web.CSRFHeader, stolen), 403},
			{"another key's", with(web.CSRFHeader, foreign), 403},
			{"changed", with(web.CSRFHeader, flipped+good[1:]), 403},
			{"cut", with(web.CSRFHeader, good[:63]), 403},
			{"padded", with(web.CSRFHeader, good+"="), 403},
			{"with a line break", with(web.CSRFHeader, good[:63]+"\n"+good[63:]), 403},
			{"the header wrong and the form right", all(form(web.CSRFField+"="+good), with(web.CSRFHeader, stolen)), 403},
			{"another field", form("csrf=" + good), 403},
			{"in the query", func(r *http.Request) { r.URL.RawQuery = web.CSRFField + "=" + good }, 403},
			{"in a form of another type", all(form(web.CSRFField+"="+good), with("Content-Type", "text/plain")), 403},
			{"in a broken form", form(web.CSRFField + "=" + good + "&%zz"), 403},
		} {
			before := s.visits
			status(t, x.name, a.post("/page", silent, x.change), x.status)
			if let := s.visits != before; let != (x.status == 200) {
				t.Errorf("%s: let in %t", x.name, let)
			}
			if x.status == 403 {
				for _, path := range []string{"refresh", "logout", "logout-everywhere", "sessions/end"} {
					r := a.post("/session/"+path, silent, x.change)
					if status(t, path+", "+x.name, r, 403); len(r.Header["Set-Cookie"]) != 0 {
						t.Errorf("%s, %s: cookies set", path, x.name)
					}
				}
			}
		}
		// The form is the handler's, too.
		s.page = func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("a") != "b" {
				t.Error("the form is lost")
			}
		}
		status(t, "the form", a.post("/page", silent, form(web.CSRFField+"="+good+"&a=b")), 200)
		s.page = nil
		// By the refresh token alone, once the access token has run out.
		time.Sleep(16 * time.Minute)
		status(t, "no token, run out", a.post("/page", silent), 403)
		if a.cookie("session") != nil {
			t.Error("it was refreshed all the same")
		}
		status(t, "another session's token, run out", a.post("/session/refresh", silent, with(web.CSRFHeader, stolen)), 403)
		status(t, "a token, run out", a.post("/page", silent, with(web.CSRFHeader, good)), 200)
		status(t, "refresh", a.post("/session/refresh", silent, with(web.CSRFHeader, good)), 200)
		status(t, "logout", a.post("/session/logout", silent, with(web.CSRFHeader, good)), 204)
		status(t, "the next session", a.post("/login"), 204)
		status(t, "the last one's token", a.post("/page", silent, with(web.CSRFHeader, good)), 403)
	})
}

// Without a key such requests are refused, and there are no tokens.
func TestNoCSRFKey(t *testing.T) {
	s := newShop(t, func(c *web.BrowserConfig) { c.CSRFKey = nil })
	a := s.loggedIn(t)
	if token := a.sessions().CSRF; token != "" {
		t.Error("there is a token")
	}
	status(t, "neither header", a.post("/page", silent), 403)
	status(t, "neither header, an empty token", a.post("/page", silent, form(web.CSRFField+"=")), 403)
	status(t, "GET", a.get("/page", silent), 200)
	status(t, "one header", a.post("/page"), 200)
	r, err := http.NewRequest("GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if newShop(t).CSRFToken(r) != "" {
		t.Error("a token outside of a session")
	}
}

// A WebSocket's handshake is a GET without Sec-Fetch headers: its Origin decides.
func TestWebSocketHandshake(t *testing.T) {
	s := newShop(t, func(c *web.BrowserConfig) { c.TrustedOrigins = []string{"https://www.example"} })
	a := s.loggedIn(t)
	for _, x := range []struct {
		name    string
		origins []string
		status  int
	}{
		{"ours", []string{origin}, 200},
		{"a trusted one", []string{"https://www.example"}, 200},
		{"none", nil, 403},
		{"null", []string{"null"}, 403},
		{"another", []string{"https://evil.example"}, 403},
		{"a sibling", []string{"https://blog.shop.example"}, 403},
		{"another port", []string{origin + ":8443"}, 403},
		{"ours on http", []string{"http://" + host}, 403},
		{"another scheme", []string{"chrome-extension://" + host}, 403},
		{"ours with a name", []string{"https://user@" + host + "@evil.example"}, 403},
		{"two", []string{origin, origin}, 403},
		{"no URL", []string{"%zz"}, 403},
	} {
		for _, upgrade := range []string{"websocket", "WebSocket", "h2c, websocket"} {
			status(t, x.name, a.get("/page", silent, with("Upgrade", upgrade), func(r *http.Request) {
				if x.origins != nil {
					r.Header["Origin"] = x.origins
				}
			}), x.status)
		}
	}
}

// A page in the clear, which anybody on the way can replace, is another site: also where TLS
// ends in front of this process, so that the request itself tells nothing of TLS.
func TestPageInTheClear(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	proxied := func(r *http.Request) { r.TLS = nil }
	handshake := with("Upgrade", "websocket")
	for _, x := range []struct {
		name, origin string
		status       int
	}{
		{"over TLS", origin, 200},
		{"in the clear", "http://" + host, 403},
	} {
		status(t, "a form, "+x.name, a.post("/page", silent, with("Origin", x.origin), proxied), x.status)
		status(t, "a WebSocket, "+x.name, a.get("/page", silent, handshake, with("Origin", x.origin), proxied), x.status)
	}
	for _, local := range []string{"localhost:8080", "127.0.0.1:8080"} {
		there := func(r *http.Request) { r.Host = local }
		status(t, "a form on "+local, a.post("/page", silent, with("Origin", "http://"+local), proxied, there), 200)
		status(t, "a WebSocket on "+local, a.get("/page", silent, handshake, with("Origin", "http://"+local), proxied, there), 200)
	}
}
