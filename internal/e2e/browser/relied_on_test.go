package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// What the guards of package web rely on in a browser, seen without them: where one of these
// fails, the browser has changed, and a guard has to be thought about again.

// A host answers what its tests put in, by path.
type host map[string]func(w http.ResponseWriter, r *http.Request)

func (h host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if f, ok := h[r.URL.Path]; ok {
		f(w, r)
		return
	}
	page("here is "+r.Host).ServeHTTP(w, r)
}

// A cookie whose name begins with __Host-Http- comes from the host itself by HTTP, or not at
// all: neither a script nor a sibling plants one. (draft-ietf-httpbis-rfc6265bis, sections 4.1.3
// and 5.7; the Http prefixes are newer.)
func TestReliedOnCookiePrefixes(t *testing.T) {
	set := func(lines ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, l := range lines {
				w.Header().Add("Set-Cookie", l)
			}
		}
	}
	app := host{
		"/own": set("__Host-Http-a=own; Path=/; Secure; HttpOnly; SameSite=Lax"),
		"/unfit": set("__Host-Http-b=x; Path=/; Secure", "__Host-Http-c=x; Path=/sub; Secure; HttpOnly",
			"__Host-Http-d=x; Path=/; HttpOnly", "__Host-Http-e=x; Path=/; Secure; HttpOnly; Domain=app.example", "__HOST-http-f=x; Path=/; Secure"),
		"/delete-badly": set("__Host-Http-a=; Path=/; Secure; Max-Age=0"),
		"/delete":       set("__Host-Http-a=; Path=/; Secure; HttpOnly; Max-Age=0"),
	}
	sibling := host{"/plant": set("__Host-Http-a=planted; Path=/; Secure; HttpOnly; Domain=app.example",
		"__Secure-s=planted; Path=/; Secure; Domain=app.example")}
	b := browser.Start(t, map[string]http.Handler{"app.example": app, "sibling.app.example": sibling})
	p := b.Profile()
	tab := p.Tab()
	tab.Go("https://app.example/unfit")
	if all := p.Cookies(); len(all) != 0 {
		t.Errorf("%d cookies that break their prefix's rules were taken, the first is %s", len(all), all[0].Name)
	}
	tab.Go("https://app.example/own")
	if c, ok := p.Cookie("app.example", "__Host-Http-a"); !ok || c.Value != "own" {
		t.Fatalf("the good twin was not taken: there %v", ok)
	}
	browser.Eval[string](tab, `document.cookie = "__Host-Http-a=script; Path=/; Secure", document.cookie = "__Host-Http-g=script; Path=/; Secure", document.cookie = "plain=script"`)
	tab.Go("https://sibling.app.example/plant")
	if c, _ := p.Cookie("app.example", "__Host-Http-a"); c.Value != "own" {
		t.Error("a script or a sibling has replaced the cookie")
	}
	if _, ok := p.Cookie("app.example", "__Host-Http-g"); ok {
		t.Error("a script has planted a cookie of the prefix")
	}
	for _, twin := range []string{"plain", "__Secure-s"} { // which a script and a sibling may set
		if _, ok := p.Cookie("app.example", twin); !ok {
			t.Errorf("the twin %s was not taken", twin)
		}
	}
	tab.Go("https://app.example/delete-badly")
	if _, ok := p.Cookie("app.example", "__Host-Http-a"); !ok {
		t.Error("a deletion without HttpOnly has deleted")
	}
	tab.Go("https://app.example/delete")
	if _, ok := p.Cookie("app.example", "__Host-Http-a"); ok {
		t.Error("a deletion with all of the prefix's attributes has not deleted")
	}
}

// Requests say where they come from, and net/http.CrossOriginProtection refuses those that
// change something from elsewhere; a GET, and the handshake of a WebSocket, it does not.
func TestReliedOnRequestsSayWhence(t *testing.T) {
	change := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "changed") }
	app := http.NewCrossOriginProtection().Handler(host{"/change": change})
	b := browser.Start(t, map[string]http.Handler{"app.example": app, "sibling.app.example": host{}, "attacker.example": host{}})
	p := b.Profile()
	statuses := func(site string) (all []int) {
		for _, r := range b.Seen(func(r browser.Seen) bool {
			return r.Method == "POST" && r.Header.Get("Sec-Fetch-Site") == site
		}) {
			all = append(all, r.Status)
		}
		return all
	}
	for _, from := range []struct {
		host, site string
		want       int
	}{
		{"app.example", "same-origin", http.StatusOK},
		{"sibling.app.example", "same-site", http.StatusForbidden},
		{"attacker.example", "cross-site", http.StatusForbidden},
	} {
		t.Run(from.site, func(t *testing.T) {
			tab := p.Tab()
			tab.Go("https://" + from.host + "/")
			tab.Fetch("https://app.example/change", "{method: 'POST', mode: 'no-cors', credentials: 'include'}")
			tab.Start(`const f = document.createElement('form'); f.method = 'post'; f.action = 'https://app.example/change'; document.body.append(f); f.submit()`)
			tab.At("https://app.example/change")
			if got := statuses(from.site); len(got) != 2 || got[0] != from.want || got[1] != from.want {
				t.Errorf("fetch and form were answered with %v, want %d", got, from.want)
			}
		})
	}
	t.Run("websocket", func(t *testing.T) {
		tab := p.Tab()
		tab.Go("https://attacker.example/")
		browser.Eval[bool](tab, `new Promise(done => { const s = new WebSocket('wss://app.example/socket'); s.onerror = s.onopen = () => done(true) })`)
		got := b.Seen(func(r browser.Seen) bool { return r.Path == "/socket" })
		if len(got) != 1 || got[0].Status != http.StatusOK {
			t.Fatalf("the handshake was seen %d times, or was not let through", len(got))
		}
		if h := got[0].Header; h.Get("Origin") != "https://attacker.example" || h.Get("Sec-Fetch-Site") != "" {
			t.Errorf("the handshake says Origin %q, Sec-Fetch-Site %q", h.Get("Origin"), h.Get("Sec-Fetch-Site"))
		}
	})
}

// A speculative request carries the cookies, and is told by Sec-Purpose alone.
func TestReliedOnPurpose(t *testing.T) {
	app := host{
		"/login": func(w http.ResponseWriter, _ *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "__Host-s", Value: "x", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
		},
		"/speculate": func(w http.ResponseWriter, r *http.Request) {
			page(`<script type=speculationrules>{"prefetch": [{"urls": ["/prefetched"], "eagerness": "immediate"}], "prerender": [{"urls": ["/prerendered"], "eagerness": "immediate"}]}</script>`).ServeHTTP(w, r)
		},
	}
	b := browser.Start(t, map[string]http.Handler{"app.example": app})
	tab := b.Profile().Tab()
	tab.Go("https://app.example/login")
	tab.Go("https://app.example/speculate")
	for path, purpose := range map[string]string{"/prefetched": "prefetch", "/prerendered": "prefetch;prerender"} {
		browser.Eventually(t, "a speculative request for "+path, func() bool { return b.Count("GET", "app.example", path) == 1 })
		r := b.Seen(func(r browser.Seen) bool { return r.Path == path })[0]
		if got := r.Header.Get("Sec-Purpose"); got != purpose {
			t.Errorf("%s says Sec-Purpose %q, want %q", path, got, purpose)
		}
		if !strings.Contains(r.Header.Get("Cookie"), "__Host-s=") {
			t.Errorf("%s carries no cookie", path)
		}
	}
	tab.Go("https://app.example/typed")
	if r := b.Seen(func(r browser.Seen) bool { return r.Path == "/typed" })[0]; r.Header.Get("Sec-Purpose") != "" {
		t.Error("a navigation of a person's has a purpose, too")
	}
}

// A page that must not be stored rests in the back-forward cache all the same, and leaves it
// when a cookie of its host changes; one that may be stored is shown again after a logout.
func TestReliedOnBack(t *testing.T) {
	private := func(storing string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			text := "nothing for you"
			if _, err := r.Cookie("__Host-s"); err == nil {
				text = "private matters"
			}
			w.Header().Set("Cache-Control", storing)
			show(w, text)
		}
	}
	cookie := http.Cookie{Name: "__Host-s", Value: "x", Path: "/", Secure: true, HttpOnly: true}
	app := host{
		"/login": func(w http.ResponseWriter, _ *http.Request) { http.SetCookie(w, &cookie) },
		"/logout": func(w http.ResponseWriter, r *http.Request) {
			gone := cookie
			gone.MaxAge = -1
			http.SetCookie(w, &gone)
			page("goodbye").ServeHTTP(w, r)
		},
		"/private":  private("no-store"),
		"/storable": private("max-age=60"),
	}
	b := browser.Start(t, map[string]http.Handler{"app.example": app})
	for path, after := range map[string]string{"/private": "nothing for you", "/storable": "private matters"} {
		tab := b.Profile().Tab()
		tab.Go("https://app.example/login")
		tab.Go("https://app.example" + path)
		tab.Shows("private matters")
		tab.Leave("https://app.example/elsewhere")
		if !tab.Back("https://app.example" + path) {
			t.Errorf("%s does not rest in the back-forward cache: %s", path, browser.Eval[string](tab, "JSON.stringify(performance.getEntriesByType(\"navigation\")[0].notRestoredReasons)"))
		}
		tab.Shows("private matters")
		tab.Leave("https://app.example/logout")
		tab.Back("https://app.example" + path)
		tab.Shows(after)
	}
}

// Clear-Site-Data "cookies" takes the cookies that the same answer sets, too.
func TestReliedOnClearSiteData(t *testing.T) {
	set := func(clear string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if clear != "" {
				w.Header().Set("Clear-Site-Data", clear)
			}
			http.SetCookie(w, &http.Cookie{Name: "__Host-s", Value: "x", Path: "/", Secure: true, HttpOnly: true})
		}
	}
	b := browser.Start(t, map[string]http.Handler{"app.example": host{"/set": set(""), "/clear": set(`"cookies"`), "/storage": set(`"storage"`)}})
	p := b.Profile()
	tab := p.Tab()
	for path, want := range map[string]bool{"/set": true, "/clear": false, "/storage": true} {
		tab.Go("https://app.example" + path)
		if _, ok := p.Cookie("app.example", "__Host-s"); ok != want {
			t.Errorf("after %s the cookie is there: %v, want %v", path, ok, want)
		}
	}
}
