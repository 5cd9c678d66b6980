package browser_test

import (
	"net/http"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// What a browser loads before anybody has asked for it changes nothing: on a good access token
// it is the page, on one that has run out it is refused, and asked for again when somebody goes
// there.
func TestSpeculation(t *testing.T) {
	s := newShop(t, nil)
	p := s.Profile()
	tab := p.Tab()
	s.logIn(tab, "ada", "open sesame")
	for _, c := range []struct {
		name    string
		expired bool
		want    int
	}{{"good", false, http.StatusOK}, {"run-out", true, http.StatusServiceUnavailable}} {
		t.Run(c.name, func(t *testing.T) {
			tab.Go(shopURL + "/private")
			if c.expired {
				p.Expire(shopHost, accessCookie)
			}
			prefetched, prerendered := "/prices?prefetched="+c.name, "/prices?prerendered="+c.name
			before := s.rotations()
			browser.Eval[int](tab, `(() => {
				const s = document.createElement("script")
				s.type = "speculationrules"
				s.textContent = JSON.stringify({
					prefetch: [{urls: [`+browser.Quote(prefetched)+`], eagerness: "immediate"}],
					prerender: [{urls: [`+browser.Quote(prerendered)+`], eagerness: "immediate"}]})
				document.head.append(s)
				return 0 })()`)
			asked := func(path string, speculative bool) (all []browser.Seen) {
				return s.Seen(func(r browser.Seen) bool {
					return r.Path == path && (r.Header.Get("Sec-Purpose") != "") == speculative && r.Status != 0
				})
			}
			for _, path := range []string{prefetched, prerendered} {
				browser.Eventually(t, "an answer to a speculative request for "+path, func() bool { return len(asked(path, true)) > 0 })
				if got := asked(path, true)[0].Status; got != c.want {
					t.Errorf("%s: %d, want %d", path, got, c.want)
				}
			}
			if n := s.rotations() - before; n != 0 {
				t.Errorf("%d rotations, want none", n)
			}
			if _, ok := p.Cookie(shopHost, accessCookie); ok == c.expired {
				t.Errorf("there is an access cookie: %v", ok)
			}
			tab.Leave(shopURL + prefetched)
			tab.Shows("prices for ada")
			again := 0 // of the first the browser shows what it has
			if c.expired {
				again = 1
			}
			if n := len(asked(prefetched, false)); n != again {
				t.Errorf("the page was asked for again %d times, want %d", n, again)
			}
			if _, ok := p.Cookie(shopHost, accessCookie); !ok {
				t.Error("there is no access cookie when somebody has gone there")
			}
		})
	}
}
