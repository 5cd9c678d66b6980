package browser_test

import (
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// separate has a shop keep its refresh tokens apart.
func separate(c *web.BrowserConfig, _ *refresh.Config) { c.Layout = web.Separate }

// Both layouts, by name.
var layouts = map[string]func(*web.BrowserConfig, *refresh.Config){"passing": nil, "separate": separate}

// A person logs in, uses the page, and logs out; then nothing private is shown, by the address,
// by the Back button, or by another service that the token was good for.
func TestLoginUseLogout(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, layout)
			p := s.Profile()
			tab := p.Tab()
			tab.Go(shopURL + "/private") // leads to the login form, and back after it
			tab.At(shopURL + "/login?return_to=%2Fprivate")
			tab.Fill("input[name=name]", "ada")
			tab.Fill("input[name=password]", "open sesame")
			tab.Screenshot("login")
			tab.Click("button")
			tab.At(shopURL + "/private")
			tab.Shows("Private matters of ada")
			tab.Screenshot("private")
			for _, c := range p.Cookies() {
				if !c.Secure || !c.HTTPOnly || c.SameSite != "Lax" || c.Domain != shopHost {
					t.Errorf("cookie %s: Secure %v, HttpOnly %v, SameSite %s, domain %s", c.Name, c.Secure, c.HTTPOnly, c.SameSite, c.Domain)
				}
			}
			access, _ := p.Cookie(shopHost, accessCookie)
			if got := s.askOther(access.Value); got != http.StatusOK {
				t.Fatalf("the other service answers %d", got)
			}
			if got := browser.Eval[string](tab, "document.cookie"); got != "" {
				t.Error("the page's scripts see cookies")
			}
			tab.Fill("input[name=colour]", "green")
			tab.Click("#change")
			tab.Shows("it is green now")
			tab.Go(shopURL + "/private")
			tab.Shows("it is green")

			tab.Leave(shopURL + "/")
			tab.Back(shopURL + "/private") // the good twin of what follows
			tab.Shows("Private matters of ada")
			other := p.Tab() // has left a private page, too
			other.Go(shopURL + "/prices")
			other.Shows("prices for ada")
			other.Leave(shopURL + "/")
			tab.Click("#logout")
			tab.At(shopURL + "/")
			if got := p.Cookies(); len(got) != 0 {
				t.Errorf("after the logout there are %d cookies, the first is %s", len(got), got[0].Name)
			}
			tab.Start("history.back()")
			tab.Wait("!location.href.endsWith('example/') && document.readyState === 'complete'")
			tab.Shows("Log in")
			other.Start("history.back()")
			other.Wait("!location.href.endsWith('example/') && document.readyState === 'complete'")
			other.Shows("Log in")
			if got := tab.Go(shopURL + "/private"); got != http.StatusOK {
				t.Errorf("the login page is answered with %d", got)
			}
			tab.Shows("Log in")
			browser.Eventually(t, "the other service refuses the token", func() bool { return s.askOther(access.Value) == http.StatusUnauthorized })
		})
	}
}

// A password change in one browser ends the session in another one, at every service, and keeps
// its own, with new secrets.
func TestPasswordChange(t *testing.T) {
	s := newShop(t, nil)
	own, other := s.Profile(), s.Profile()
	laptop, phone := own.Tab(), other.Tab()
	s.logIn(laptop, "ada", "open sesame")
	s.logIn(phone, "ada", "open sesame")
	phoneAccess, _ := other.Cookie(shopHost, accessCookie)
	before, _ := own.Cookie(shopHost, refreshCookie)

	laptop.Fill("input[name=new]", "close sesame")
	laptop.Click("#password")
	laptop.At(shopURL + "/private?changed")
	laptop.Shows("Private matters of ada")
	if after, ok := own.Cookie(shopHost, refreshCookie); !ok || after.Value == before.Value {
		t.Error("the session that the password was changed in has no new secrets")
	}
	browser.Eventually(t, "the other service refuses the phone's token", func() bool { return s.askOther(phoneAccess.Value) == http.StatusUnauthorized })
	phone.Reload()
	phone.Shows("Log in")
	access, _ := own.Cookie(shopHost, accessCookie)
	browser.Eventually(t, "the other service accepts the laptop's token", func() bool { return s.askOther(access.Value) == http.StatusOK })
	own.Expire(shopHost, accessCookie)
	laptop.Reload()
	laptop.Shows("Private matters of ada")
	s.logIn(phone, "ada", "close sesame")
}

// A thief who copies the cookies has the session: until it ends, and no longer. It takes the key of
// a device to prevent that.
func TestStolenCookies(t *testing.T) {
	s := newShop(t, nil)
	owner, thief := s.Profile(), s.Profile()
	tab, theirs := owner.Tab(), thief.Tab()
	s.logIn(tab, "ada", "open sesame")
	jar := owner.Cookies()
	theirs.Go(shopURL + "/private")
	theirs.Shows("Log in")
	thief.Take(jar)
	theirs.Go(shopURL + "/private")
	theirs.Shows("Private matters of ada")
	thief.Expire(shopHost, accessCookie) // and it can be refreshed
	theirs.Go(shopURL + "/private")
	theirs.Shows("Private matters of ada")

	tab.Click("#logout")
	tab.At(shopURL + "/")
	for _, cookies := range [][]browser.Cookie{nil, jar} { // those that it has, and the first ones
		thief.Take(cookies)
		theirs.Go(shopURL + "/private")
		theirs.Shows("Log in")
	}
}

// The largest access token that the package gives to a browser is one that the browser keeps.
func TestLargestCookie(t *testing.T) {
	s := newShop(t, nil)
	p := s.Profile()
	tab := p.Tab()
	tab.Go(shopURL + "/login")
	logIn := func(bytes int) bool {
		s.mu.Lock()
		s.claims = map[string]any{"note": strings.Repeat("x", bytes)}
		s.mu.Unlock()
		f := tab.Fetch("/login", `{method: "POST", redirect: "manual", body: new URLSearchParams({name: "ada", password: "open sesame"})}`)
		return f.Type == "opaqueredirect"
	}
	// The first that does not pass.
	over := sort.Search(4096, func(bytes int) bool { return !logIn(bytes) })
	if over == 0 || over == 4096 || !logIn(over-1) {
		t.Fatalf("%d bytes of a claim are too many", over)
	}
	c, ok := p.Cookie(shopHost, accessCookie)
	if n := len(c.Name) + len(c.Value); !ok || n < 4093 || n > 4096 { // a byte more of a claim is one or two in base64
		t.Errorf("the browser keeps it: %v, with %d bytes of name and value", ok, n)
	}
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	p.Expire(shopHost, accessCookie)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	if _, ok := p.Cookie(shopHost, accessCookie); !ok {
		t.Error("the browser has not kept the cookie of the refreshed token")
	}
}
