package browser_test

import (
	"net/http"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// An endpoint that takes long to answer holds up nobody's refresh: the script does not try it
// while it keeps others out.
func TestScriptSlowEndpoint(t *testing.T) {
	s := newShop(t, separate)
	p := s.Profile()
	slow, quick := p.Tab(), p.Tab()
	s.logIn(slow, "ada", "open sesame")
	quick.Go(shopURL + "/private")
	s.spoil(t, p)
	slow.Start("sessionFetch('/slow').then(async r => { window.answered = r.status + ' ' + await r.text() })")
	browser.Eventually(t, "the slow request is tried again", func() bool {
		all := s.Seen(func(r browser.Seen) bool { return r.Path == "/slow" })
		return len(all) > 1 && all[len(all)-1].Status == 0
	})
	s.spoil(t, p) // the token of the refresh
	got := browser.Eval[string](quick, "sessionFetch('/api').then(async r => r.status + ' ' + await r.text())")
	if got != "200 orders of ada" {
		t.Errorf("the quick one is answered with %q", got)
	}
	if browser.Eval[bool](slow, "'answered' in window") {
		t.Error("the slow one was answered before: this test is about its taking long")
	}
	s.release()
	slow.Wait("window.answered === '200 at last'")
}

// Where a page asks for more than a good token, as a fresh login, the script refreshes nothing:
// no refresh gives more. What is sent arrives, once, after a refresh that is needed.
func TestScriptRefreshesWhatIsNeeded(t *testing.T) {
	s := newShop(t, separate)
	p := s.Profile()
	tab := p.Tab()
	s.logIn(tab, "ada", "open sesame")
	before := s.rotations()
	for range 3 {
		if got := browser.Eval[int](tab, "sessionFetch('/stepped-up').then(r => r.status)"); got != http.StatusUnauthorized {
			t.Errorf("a route that asks for more answers %d", got)
		}
	}
	if n := s.rotations() - before; n != 0 {
		t.Errorf("%d rotations on a good token", n)
	}
	s.spoil(t, p)
	if got := browser.Eval[int](tab, "sessionFetch('/change', {method: 'POST', body: new URLSearchParams({colour: 'gold'})}).then(r => r.status)"); got != http.StatusOK {
		t.Errorf("a change on a token of no use is answered with %d", got)
	}
	if got := s.state(); got.Changes != 1 || got.Colour != "gold" || s.rotations()-before != 1 {
		t.Errorf("%d changes, to %s, %d rotations", got.Changes, got.Colour, s.rotations()-before)
	}
	tab.Fetch("/session/logout", `{method: "POST"}`)
	if got := browser.Eval[int](tab, "sessionFetch('/api').then(r => r.status)"); got != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", got)
	}
}
