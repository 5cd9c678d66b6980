package browser_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// Where a browser goes by a return address is decided by the browser's own reading of it: never
// to another host.
func TestReturnAddress(t *testing.T) {
	s := newShop(t, separate)
	p := s.Profile()
	tab := p.Tab()
	s.logIn(tab, "ada", "open sesame")
	const attacker = attackerHost + "/stolen"
	for i, to := range []string{
		"https://" + attacker, "//" + attacker, "///" + attacker, `/\` + attacker, `\\` + attacker, `/\/` + attacker,
		"/\t/" + attacker, "/\n/" + attacker, "\t//" + attacker, " //" + attacker, "/ /" + attacker, "https:" + attacker, "https:/" + attacker,
		"/./" + "/" + attacker, "/..//" + attacker, "/.%2e//" + attacker, "/%2f" + attacker, "/%2F/" + attacker, "/%5c" + attacker, "/%09/" + attacker,
		"//" + shopHost + "@" + attacker, "/x/..//" + attacker, "//\x00" + attacker, "/\u3000/" + attacker, "http://" + attacker, "javascript:location='https://" + attacker + "'",
		"//%61ttacker.example/stolen", "/;//" + attacker, "?//" + attacker, "#//" + attacker, "",
	} {
		if i%10 == 9 { // within the grace window a session is refreshed 16 times at most
			s.logIn(tab, "ada", "open sesame")
		}
		tab.Go(shopURL + "/session/return?return_to=" + url.QueryEscape(to))
		if got := browser.Eval[string](tab, "location.href"); got != shopURL+"/" || !strings.Contains(tab.Text(), "welcome to the shop") {
			t.Errorf("%q leads to %s", to, got)
		}
	}
	if n := len(s.Seen(func(r browser.Seen) bool { return r.Host == attackerHost })); n > 0 {
		t.Errorf("the attacker's host was asked %d times", n)
	}
	s.logIn(tab, "ada", "open sesame")
	for _, to := range []string{"/prices?of=tea", "/prices?of=%2F%2F" + attacker + "#part"} { // the good twins
		tab.Go(shopURL + "/session/return?return_to=" + url.QueryEscape(to))
		tab.At(shopURL + to)
		tab.Shows("prices for ada")
	}
}

// A link on another site leads to the private page, also where the access token is of no use any
// more: the cookies come along (SameSite=Lax) on all of the way.
func TestLinkFromAnotherSite(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, layout)
			p := s.Profile()
			tab := p.Tab()
			s.logIn(tab, "ada", "open sesame")
			follow := func() {
				t.Helper()
				tab.Go("https://" + attackerHost + "/")
				tab.Start("document.body.innerHTML = '<a href=" + shopURL + "/private>x</a>'; document.querySelector('a').click()")
				tab.At(shopURL + "/private")
			}
			before := s.rotations()
			follow()
			tab.Shows("Private matters of ada")
			if n := s.rotations() - before; n != 0 {
				t.Errorf("%d rotations on a good token", n)
			}
			if layout == nil {
				p.Expire(shopHost, accessCookie)
			} else {
				s.spoil(t, p)
			}
			follow()
			tab.Shows("Private matters of ada")
			if n := s.rotations() - before; n != 1 {
				t.Errorf("%d rotations on a token of no use, want 1", n)
			}
			for _, r := range s.Seen(func(r browser.Seen) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }) {
				if r.Method != http.MethodGet || strings.HasPrefix(r.Path, "/login") {
					t.Errorf("the way led to %s %s", r.Method, r.Path)
				}
			}
		})
	}
}

// In a page that tells no one where it is (Referrer-Policy: no-referrer) forms say Origin: null.
// They are the shop's own all the same.
func TestFormWithoutReferrer(t *testing.T) {
	s := newShop(t, nil)
	tab := s.Profile().Tab()
	s.logIn(tab, "ada", "open sesame")
	browser.Eval[int](tab, `(() => { const m = document.createElement("meta"); m.name = "referrer"; m.content = "no-referrer"; document.head.append(m); return 0 })()`)
	tab.Fill("input[name=colour]", "grey")
	tab.Click("#change")
	tab.Shows("it is grey now")
	if got := s.Seen(func(r browser.Seen) bool { return r.Path == "/change" })[0].Header.Get("Origin"); got != "null" {
		t.Errorf("the form said Origin %q: this test is about null", got)
	}
}
