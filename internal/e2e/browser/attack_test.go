package browser_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// attack has a page try all that it can to use the session of the user who looks at it, by every
// kind of request that a page can make, and says how the WebSocket went.
func attack(tab *browser.Tab) (socket string) {
	for _, path := range []string{"/change", "/password", "/session/logout", "/session/logout-everywhere", "/session/sessions/end", "/session/refresh", "/login"} {
		// Its content type is one that needs no preflight (Fetch, section 2.2.2).
		tab.Fetch(shopURL+path, `{method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({colour: "black", new: "stolen", name: "mallory", password: "open sesame"})}`)
	}
	tab.Fetch(shopURL+"/change", `{method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"}`)
	browser.Eval[bool](tab, `navigator.sendBeacon("`+shopURL+`/session/logout")`)
	for _, get := range []string{"/private", "/session/logout", "/session/logout-everywhere", "/change?colour=black"} {
		browser.Eval[bool](tab, fmt.Sprintf(`new Promise(done => { const i = new Image(); i.onload = i.onerror = () => done(true); i.src = %q })`, shopURL+get))
		browser.Eval[bool](tab, fmt.Sprintf(`new Promise(done => { const f = document.createElement("iframe"); f.onload = f.onerror = () => done(true); f.src = %q; document.body.append(f) })`, shopURL+get))
	}
	return openSocket(tab)
}

func openSocket(tab *browser.Tab) string {
	return browser.Eval[string](tab, `new Promise(done => { const s = new WebSocket("wss://`+shopHost+`/socket"); s.onopen = () => done("open"); s.onerror = () => done("refused") })`)
}

// sendForm has a page send a form, as a person who clicks.
func sendForm(tab *browser.Tab, path string) {
	tab.Start(fmt.Sprintf(`const f = document.createElement("form"); f.method = "post"; f.action = %q
		f.innerHTML = "<input name=colour value=black><input name=name value=mallory><input name=password value='open sesame'>"; document.body.append(f); f.submit()`, shopURL+path))
	tab.At(shopURL + path)
}

// A page of another site, and one of a sibling subdomain, change nothing, whatever they send;
// the same requests from the shop's own page do.
func TestAttackingPages(t *testing.T) {
	s := newShop(t, nil)
	p := s.Profile()
	own := p.Tab()
	s.logIn(own, "ada", "open sesame")
	before := s.state()
	for _, from := range []string{attackerHost, siblingHost} {
		t.Run(from, func(t *testing.T) {
			tab := p.Tab()
			tab.Go("https://" + from + "/")
			if got := attack(tab); got != "refused" {
				t.Errorf("its WebSocket is %s", got)
			}
			for _, path := range []string{"/change", "/session/logout", "/login"} {
				tab.Go("https://" + from + "/")
				sendForm(tab, path)
			}
			if got := s.state(); got != before {
				t.Errorf("what was %+v is %+v now", before, got)
			}
			for _, r := range s.Seen(func(r browser.Seen) bool {
				return r.Method == "POST" && r.Host == shopHost && r.Header.Get("Origin") == "https://"+from
			}) {
				if r.Status != http.StatusForbidden {
					t.Errorf("POST %s was answered with %d", r.Path, r.Status)
				}
			}
			own.Reload()
			own.Shows("Private matters of ada")
		})
	}
	// The good twin: the same from the shop's own page.
	if got := openSocket(own); got != "open" {
		t.Errorf("the shop's own WebSocket is %s", got)
	}
	sendForm(own, "/change")
	own.Shows("it is black now")
	own.Go(shopURL + "/private")
	if f := own.Fetch("/change", `{method: "POST", body: new URLSearchParams({colour: "red"})}`); f.Status != http.StatusOK {
		t.Errorf("the shop's own fetch is answered with %d", f.Status)
	}
	if f := own.Fetch("/session/refresh", `{method: "POST"}`); f.Status != http.StatusOK {
		t.Errorf("the shop's own refresh is answered with %d", f.Status)
	}
	if got := s.state(); got.Changes != 2 || got.Sockets != 1 || got.Colour != "red" || got.Done != before.Done+1 {
		t.Errorf("after the shop's own requests: %+v", got)
	}
	if f := own.Fetch("/session/logout", `{method: "POST"}`); f.Status != http.StatusNoContent {
		t.Errorf("the shop's own logout is answered with %d", f.Status)
	}
	own.Go(shopURL + "/private")
	own.Shows("Log in")
}

// plant has a sibling set cookies for all of the shop's domain.
func plant(tab *browser.Tab, lines ...string) {
	tab.Go("https://" + siblingHost + "/plant?" + url.Values{"cookie": lines}.Encode())
}

// What a sibling plants is no session. In layout Passing it changes nothing for a session that
// there is.
func TestPlantedCookies(t *testing.T) {
	s := newShop(t, nil)
	attacker, victim := s.Profile(), s.Profile()
	theirs, tab := attacker.Tab(), victim.Tab()
	s.logIn(theirs, "mallory", "open sesame")
	access, _ := attacker.Cookie(shopHost, accessCookie)
	refresh, _ := attacker.Cookie(shopHost, refreshCookie)

	lines := []string{
		accessCookie + "=" + access.Value + "; Domain=" + shopHost + "; Path=/; Secure; HttpOnly",
		refreshCookie + "=" + refresh.Value + "; Domain=" + shopHost + "; Path=/; Secure; HttpOnly",
		"__host-http-session=" + access.Value + "; Domain=" + shopHost + "; Path=/; Secure; HttpOnly",
		// Names without a prefix that the browser knows are taken; the shop does not know them.
		"session=" + access.Value + "; Domain=" + shopHost + "; Path=/; Secure; HttpOnly",
		"session-refresh=" + refresh.Value + "; Domain=" + shopHost + "; Path=/; Secure; HttpOnly",
	}
	plant(tab, lines...)
	if n := len(victim.Cookies()); n != 2 {
		t.Errorf("%d of the planted cookies were taken, want the 2 without a prefix", n)
	}
	tab.Go(shopURL + "/private")
	tab.Shows("Log in")
	s.logIn(tab, "ada", "open sesame")
	plant(tab, lines...)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	victim.Expire(shopHost, accessCookie)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
}

// In layout Separate a sibling can plant a second refresh cookie. It is not the sibling's
// session that the victim then has, and the access token goes on until it runs out; a login
// begins a session then, which cannot be refreshed as long as the planted cookie is there.
func TestPlantedCookieSeparate(t *testing.T) {
	s := newShop(t, separate)
	attacker, victim := s.Profile(), s.Profile()
	theirs, tab := attacker.Tab(), victim.Tab()
	s.logIn(theirs, "mallory", "open sesame")
	refresh, ok := attacker.Cookie(shopHost, separateCookie)
	if !ok || refresh.Path != "/session/" {
		t.Fatalf("the refresh cookie has the path %q", refresh.Path)
	}
	s.logIn(tab, "ada", "open sesame")
	if f := tab.Fetch("/session/refresh", `{method: "POST"}`); f.Status != http.StatusOK { // the good twin
		t.Fatalf("a refresh is answered with %d", f.Status)
	}
	plant(tab, separateCookie+"="+refresh.Value+"; Domain="+shopHost+"; Path=/session/; Secure; HttpOnly")
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	if f := tab.Fetch("/session/refresh", `{method: "POST"}`); f.Status != http.StatusUnauthorized {
		t.Errorf("with two cookies of one name a refresh is answered with %d", f.Status)
	}
	s.logIn(tab, "ada", "open sesame")
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
}
