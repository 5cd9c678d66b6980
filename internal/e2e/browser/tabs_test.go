package browser_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// brief has access tokens run out after ten seconds, the least there is.
func brief(c *refresh.Config) {
	c.Lifetimes = refresh.Web
	c.Lifetimes.Access = 10 * time.Second
}

// Five tabs that wake at once on an access token that has run out: one rotation, and no page
// sees a 401. In layout Passing by the middleware alone; in layout Separate by the script, across
// tabs by Web Locks. Where a browser has none each tab refreshes once, and still no page sees a 401.
func TestFiveTabs(t *testing.T) {
	asleep := []*sleepers{
		{name: "passing", layout: web.Passing, call: "fetch", most: 1},
		{name: "separate", layout: web.Separate, call: "sessionFetch", mostPost: 1, most: 1},
		// A tab that does not know of the others refreshes with what the others have left.
		{name: "separate, no locks", layout: web.Separate, call: "sessionFetch", mostPost: 5, most: 5,
			before: "Object.defineProperty(Navigator.prototype, 'locks', {get: () => undefined})"},
	}
	for _, five := range asleep { // all begin first, so that their tokens run out together
		five.sleep(t)
	}
	for _, five := range asleep {
		t.Run(five.name, five.wake)
	}
}

// sleepers are five tabs of one browser.
type sleepers struct {
	name     string
	layout   web.Layout
	call     string // of the pages' scripts
	before   string // a script before theirs
	mostPost int    // requests to the refresh URL
	most     uint64 // rotations

	shop    *shop
	profile *browser.Profile
	first   *browser.Tab
	tabs    []*browser.Tab
}

func (five *sleepers) sleep(t *testing.T) {
	five.shop = newShop(t, func(w *web.BrowserConfig, r *refresh.Config) {
		w.Layout = five.layout
		brief(r)
	})
	five.profile = five.shop.Profile()
	five.first = five.profile.Tab()
	five.shop.logIn(five.first, "ada", "open sesame")
	for range 5 {
		tab := five.profile.Tab()
		if five.before != "" {
			tab.Before(five.before)
		}
		tab.Go(shopURL + "/private")
		tab.Shows("Private matters of ada")
		if got := browser.Eval[bool](tab, "navigator.locks === undefined"); got != (five.before != "") {
			t.Fatalf("%s: the tab lacks locks: %v", five.name, got)
		}
		browser.Eval[int](tab, `addEventListener('storage', async () => {
			const calls = [1, 2, 3, 4].map(() => `+five.call+`('/api').then(async r => r.status + ' ' + await r.text()))
			window.woken = (await Promise.all(calls)).join('; ')
		}), 0`)
		five.tabs = append(five.tabs, tab)
	}
}

func (five *sleepers) wake(t *testing.T) {
	s := five.shop
	// In layout Passing the browser drops the cookie, in Separate it keeps it.
	browser.Eventually(t, "the access token has run out", func() bool {
		c, ok := five.profile.Cookie(shopHost, accessCookie)
		return !ok || five.layout == web.Separate && s.askOther(c.Value) == http.StatusUnauthorized
	})
	rotated := s.rotations()
	browser.Eval[int](five.first, "localStorage.setItem('wake', 'up'), 0")
	for _, tab := range five.tabs {
		tab.Wait("window.woken")
		if got, want := browser.Eval[string](tab, "window.woken"), strings.TrimSuffix(strings.Repeat("200 orders of ada; ", 4), "; "); got != want {
			t.Errorf("a tab's page saw %q, want %q", got, want)
		}
	}
	if n := s.rotations() - rotated; n < 1 || n > five.most {
		t.Errorf("%d rotations, want 1 to %d", n, five.most)
	}
	refused := len(s.Seen(func(r browser.Seen) bool { return r.Path == "/api" && r.Status == http.StatusUnauthorized }))
	if (refused > 0) != (five.layout == web.Separate) {
		t.Errorf("%d answers of 401, which only the script may see", refused)
	}
	if n := s.Count("POST", shopHost, "/session/refresh"); n > five.mostPost || five.mostPost > 0 && n == 0 {
		t.Errorf("%d requests to refresh, want 1 to %d", n, five.mostPost)
	}
}

// In layout Separate a navigation on an access token that has run out goes by 303 through the
// refresh URL and back; a form keeps its method and what it says.
func TestNavigationThroughRefresh(t *testing.T) {
	s := newShop(t, func(w *web.BrowserConfig, r *refresh.Config) {
		w.Layout = web.Separate
		brief(r)
	})
	reader, writer := s.Profile(), s.Profile()
	reads, writes := reader.Tab(), writer.Tab()
	s.logIn(reads, "ada", "open sesame")
	s.logIn(writes, "bob", "open sesame")
	writes.Fill("input[name=colour]", "blue")
	for _, p := range []*browser.Profile{reader, writer} {
		c, _ := p.Cookie(shopHost, accessCookie)
		browser.Eventually(t, "the access token has run out", func() bool { return s.askOther(c.Value) == http.StatusUnauthorized })
	}
	before := s.rotations()
	if got := reads.Go(shopURL + "/prices?of=tea"); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	reads.At(shopURL + "/prices?of=tea")
	reads.Shows("prices for ada")
	writes.Click("#change")
	writes.Shows("it is blue now")
	if n := s.rotations() - before; n != 2 {
		t.Errorf("%d rotations, want one each", n)
	}
	if got := s.state(); got.Changes != 1 {
		t.Errorf("%d changes, want 1", got.Changes)
	}
	for path, want := range map[string][]int{"/prices": {303, 303, 200}, "/change": {307, 307, 200}} {
		var way []int
		for _, r := range s.Seen(func(r browser.Seen) bool {
			return strings.HasPrefix(r.Path, path) || strings.HasPrefix(r.Path, "/session/return?return_to="+url.QueryEscape(path))
		}) {
			way = append(way, r.Status)
		}
		if !slices.Equal(way, want) {
			t.Errorf("the way to %s was %v, want %v", path, way, want)
		}
	}
}
