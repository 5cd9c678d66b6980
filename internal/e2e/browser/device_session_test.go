package browser_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

const (
	registerPath = "/session/bound/register"
	boundPath    = "/session/bound/refresh"

	boundCookie = "__Host-session" // the access token's, where sessions are bound
)

// bound has a shop bind its sessions to the device.
func bound(c *web.BrowserConfig, _ *refresh.Config) { c.DeviceBinding = &web.DeviceBinding{} }

func (s *shop) registrations() int { return s.Count("POST", shopHost, registerPath) }

// proofs is how often the browser has asked for the refresh of a bound session.
func (s *shop) proofs() int { return s.Count("POST", shopHost, boundPath) }

// logInBound logs in and waits until the browser has registered its key.
func (s *shop) logInBound(t *testing.T, p *browser.Profile, name string) *browser.Tab {
	t.Helper()
	tab := p.Tab()
	tab.WatchBound()
	n := s.registrations()
	s.logIn(tab, name, "open sesame")
	tab.Bound("creation", "Success")
	if got := s.registrations() - n; got != 1 {
		t.Errorf("%d registrations", got)
	}
	return tab
}

// The browser binds the session after the login and refreshes it by proofs, one round trip
// each: when its cookie has run out, for a request of any kind, for all tabs at once, and for a link from another
// site. The middleware refreshes nothing.
func TestDeviceSession(t *testing.T) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, func(c *web.BrowserConfig, r *refresh.Config) {
				if bound(c, r); layout != nil {
					layout(c, r)
				}
			}, browser.DeviceBound())
			p := s.Profile()
			tab := s.logInBound(t, p, "ada")
			if list, err := s.sessions.Sessions(t.Context(), "ada"); err != nil || len(list) != 1 || !list[0].DeviceBound {
				t.Fatalf("the session is not bound: %d, %v", len(list), err)
			}
			step := func(what string, do func()) {
				t.Helper()
				before := s.proofs()
				p.Expire(shopHost, boundCookie)
				do()
				browser.Eventually(t, what+" is refreshed by one proof", func() bool { return s.proofs() == before+1 })
			}
			for range 8 {
				step("a page", func() {
					tab.Go(shopURL + "/private")
					tab.Shows("Private matters of ada")
				})
			}
			step("a script's request", func() {
				if f := tab.Fetch("/api", ""); f.Status != http.StatusOK {
					t.Errorf("answered %d", f.Status)
				}
			})
			var tabs []*browser.Tab
			for range 4 {
				other := p.Tab()
				other.Go(shopURL + "/private")
				tabs = append(tabs, other)
			}
			step("five tabs", func() {
				all := append(tabs, tab)
				for _, tab := range all {
					tab.Start(`window.seen = []; for (let i = 0; i < 4; i++) fetch("/api").then(r => seen.push(r.status))`)
				}
				for _, tab := range all {
					tab.Wait("window.seen.length == 4")
					if got := browser.Eval[string](tab, "seen.join()"); got != "200,200,200,200" {
						t.Errorf("a tab was answered %s", got)
					}
				}
			})
			step("a link from another site", func() {
				tab.Go("https://" + attackerHost + "/")
				tab.Start("location.href = '" + shopURL + "/private'")
				tab.At(shopURL + "/private")
				tab.Shows("Private matters of ada")
			})
			if n := s.rotationsWithout(); n != 0 {
				t.Errorf("%d refreshes without a proof", n)
			}
			st := s.sessions.Status().RefreshBound
			if st.Done != uint64(s.proofs()) || len(st.TryAgain)+len(st.LoginAgain) != 0 {
				t.Errorf("of %d proofs: %+v", s.proofs(), st)
			}
			for _, x := range s.Seen(func(x browser.Seen) bool { return x.Path == boundPath }) {
				if x.Header.Get("Sec-Secure-Session-Id") == "" || x.Header.Get("Secure-Session-Response") == "" || strings.Contains(x.Header.Get("Secure-Session-Response"), `"`) {
					t.Error("a refresh without id or proof, or in quotes")
				}
			}
		})
	}
}

// rotationsWithout is how many refresh tokens have been exchanged without a proof.
func (s *shop) rotationsWithout() uint64 { return s.sessions.Status().Refresh.Done }

// A logout ends the session at the refresh URL, too: the browser does not bring it back. The next
// login is bound anew.
func TestDeviceSessionLogout(t *testing.T) {
	s := newShop(t, bound, browser.DeviceBound())
	p := s.Profile()
	tab := s.logInBound(t, p, "ada")
	jar := p.Cookies()
	tab.Click("#logout")
	tab.At(shopURL + "/")
	tab.Go(shopURL + "/private")
	tab.Shows("Log in")
	tab.Bound("refresh", "FatalError")
	n := s.proofs()
	if n == 0 {
		t.Error("the browser did not ask: does this test look at the right thing?")
	}
	p.Take(jar)
	tab.Go(shopURL + "/private")
	tab.Shows("Log in")
	tab.Go(shopURL + "/")
	if got := s.proofs(); got != n {
		t.Errorf("%d proofs after the end", got-n)
	}
	tab = s.logInBound(t, p, "ada")
	p.Expire(shopHost, boundCookie)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
}

// A stolen cookie jar in a second browser, which could bind sessions, too: with binding it is worth
// nothing once the access token is of no use, and the owner goes on; without, it is as good as the owner's.
func TestDeviceSessionStolen(t *testing.T) {
	for name, change := range map[string]func(*web.BrowserConfig, *refresh.Config){"bound": bound, "not bound": nil} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, change, browser.DeviceBound())
			owner, thief, access := s.Profile(), s.Profile(), boundCookie
			if change == nil {
				access = accessCookie
			}
			var tab *browser.Tab
			if change != nil {
				tab = s.logInBound(t, owner, "ada")
			} else {
				tab = owner.Tab()
				s.logIn(tab, "ada", "open sesame")
			}
			jar := owner.Cookies()
			thief.Take(jar)
			other := thief.Tab()
			other.Go(shopURL + "/private")
			other.Shows("Private matters of ada") // while the access token lives
			thief.Expire(shopHost, access)
			other.Go(shopURL + "/private")
			if change == nil {
				other.Shows("Private matters of ada")
				return
			}
			other.Shows("Log in")
			if f := other.Fetch("/session/refresh", `{method: "POST"}`); f.Status != http.StatusUnauthorized {
				t.Errorf("a refresh by the thief's script: %d", f.Status)
			}
			if n := s.rotationsWithout(); n != 0 {
				t.Errorf("%d refreshes without a proof", n)
			}
			owner.Expire(shopHost, boundCookie)
			tab.Go(shopURL + "/private")
			tab.Shows("Private matters of ada")
			other.Go(shopURL + "/private")
			other.Shows("Log in")
		})
	}
}

// A browser that knows nothing of it has a session that is not bound, as ever.
func TestDeviceSessionIgnored(t *testing.T) {
	s := newShop(t, bound)
	p := s.Profile()
	tab := p.Tab()
	s.logIn(tab, "ada", "open sesame")
	for range 2 {
		p.Expire(shopHost, boundCookie)
		tab.Go(shopURL + "/private")
		tab.Shows("Private matters of ada")
	}
	if s.registrations() != 0 || s.rotations() != 2 {
		t.Errorf("%d registrations, %d refreshes in passing, want none and 2", s.registrations(), s.rotations())
	}
}

// What the service answers to a proof, and what becomes of the browser's session: nobody is logged
// out where nobody can know, and a challenge that is used is asked for again.
func TestDeviceSessionAnswers(t *testing.T) {
	store := &brokenStore{Store: refresh.NewMemoryStore()}
	s := newShop(t, func(c *web.BrowserConfig, r *refresh.Config) {
		bound(c, r)
		r.Store = store
	}, browser.DeviceBound())
	p := s.Profile()
	tab := s.logInBound(t, p, "ada")
	store.broken.Store(true)
	p.Expire(shopHost, boundCookie)
	if status := tab.Go(shopURL + "/private"); status != http.StatusServiceUnavailable {
		t.Errorf("while the store is broken the page is answered %d", status)
	}
	store.broken.Store(false)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")

	// The answer to a refresh is lost: the same proof comes again, and then another.
	access, _ := p.Cookie(shopHost, boundCookie)
	p.Expire(shopHost, boundCookie)
	store.lose.Store(true)
	tab.Go(shopURL + "/private")
	store.lose.Store(false)
	store.broken.Store(false)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	if after, _ := p.Cookie(shopHost, boundCookie); after.Value == access.Value {
		t.Error("the access token is the one of before")
	}
	if n := s.sessions.Status().RefreshBound.TryAgain["challenge"]; n == 0 {
		t.Error("no proof came twice: does this test look at the right thing?")
	}

	// A password change keeps the browser bound.
	tab.Fill("input[name=new]", "close sesame")
	tab.Click("#password")
	tab.At(shopURL + "/private?changed")
	p.Expire(shopHost, boundCookie)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	if n := s.rotationsWithout(); n != 0 {
		t.Errorf("%d refreshes without a proof", n)
	}
}

// A browser whose registration is refused has a session that is not bound.
func TestDeviceSessionRegistrationRefused(t *testing.T) {
	store := &brokenStore{Store: refresh.NewMemoryStore()}
	s := newShop(t, func(c *web.BrowserConfig, r *refresh.Config) {
		bound(c, r)
		r.Store = store
	}, browser.DeviceBound())
	p := s.Profile()
	tab := p.Tab()
	tab.WatchBound()
	tab.Go(shopURL + "/login?return_to=/private")
	store.refuse.Store(true)
	tab.Fill("input[name=name]", "ada")
	tab.Fill("input[name=password]", "open sesame")
	tab.Click("button")
	tab.At(shopURL + "/private")
	browser.Eventually(t, "the registration is refused", func() bool {
		return len(s.Seen(func(x browser.Seen) bool { return x.Path == registerPath && x.Status == http.StatusServiceUnavailable })) > 0
	})
	store.refuse.Store(false)
	p.Expire(shopHost, boundCookie)
	tab.Go(shopURL + "/private")
	tab.Shows("Private matters of ada")
	if s.proofs() != 0 || s.rotations() != 1 {
		t.Errorf("%d proofs, %d refreshes in passing", s.proofs(), s.rotations())
	}
	for _, e := range tab.BoundEvents() {
		if e.Succeeded {
			t.Errorf("the browser has a session: %s", fmt.Sprint(e))
		}
	}
}
