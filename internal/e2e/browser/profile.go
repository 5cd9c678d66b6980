package browser

import (
	"context"
	"strings"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// A Profile is one person's browser: it shares no cookies and no storage with others.
type Profile struct {
	b      *Browser
	window *Tab // keeps the profile alive
	ctx    context.Context
}

// Profile makes a new one, which ends with the test.
func (b *Browser) Profile() *Profile {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	b.t.Cleanup(cancel)
	p := &Profile{b: b, ctx: ctx}
	p.window = newTab(b.t, ctx)
	return p
}

// Tab opens a tab on an empty page. It is closed with the test, or by [Tab.Close].
func (p *Profile) Tab() *Tab {
	p.b.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.b.t.Cleanup(cancel)
	tab := newTab(p.b.t, ctx)
	tab.close = cancel
	return tab
}

// A Cookie is what a profile holds.
type Cookie struct {
	Name, Value, Domain, Path string
	Secure, HTTPOnly          bool
	SameSite                  string // Lax, Strict, None, or empty
}

// Cookies returns all that the profile holds, of all hosts. Values are secrets: tests compare
// them and do not print them.
func (p *Profile) Cookies() []Cookie {
	p.b.t.Helper()
	got, err := chromedp.CallBrowser(p.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID})
	if err != nil {
		p.b.t.Fatalf("reading the cookies: %v", err)
	}
	var all []Cookie
	for _, c := range got.Cookies {
		all = append(all, Cookie{c.Name, c.Value, c.Domain, c.Path, c.Secure, c.HTTPOnly, string(c.SameSite)})
	}
	return all
}

// Cookie returns the profile's cookie of that name for that host, and whether there is one.
func (p *Profile) Cookie(host, name string) (Cookie, bool) {
	p.b.t.Helper()
	for _, c := range p.Cookies() {
		if c.Name == name && strings.TrimPrefix(c.Domain, ".") == host {
			return c, true
		}
	}
	return Cookie{}, false
}

// Take puts cookies of another profile into this one, as a thief does.
func (p *Profile) Take(stolen []Cookie) {
	p.b.t.Helper()
	var params []*network.CookieParam
	for _, c := range stolen {
		param := &network.CookieParam{Name: c.Name, Value: c.Value, Path: c.Path, Secure: c.Secure, HTTPOnly: c.HTTPOnly, SameSite: network.CookieSameSite(c.SameSite)}
		if host, ok := strings.CutPrefix(c.Domain, "."); ok {
			param.Domain = host
		} else {
			param.URL = "https://" + c.Domain + c.Path // of that host alone
		}
		params = append(params, param)
	}
	if _, err := chromedp.CallBrowser(p.ctx, storage.SetCookies, storage.SetCookiesParams{Cookies: params, BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID}); err != nil {
		p.b.t.Fatalf("putting %d cookies in: %v", len(stolen), err)
	}
}

// Expire removes a cookie, as the browser does when its time is up.
func (p *Profile) Expire(host, name string) {
	p.b.t.Helper()
	c, ok := p.Cookie(host, name)
	if !ok {
		p.b.t.Fatalf("there is no cookie %s of %s", name, host)
	}
	if _, err := chromedp.Call(p.ctx, network.DeleteCookies, network.DeleteCookiesParams{Name: name, Domain: c.Domain, Path: c.Path}); err != nil {
		p.b.t.Fatalf("removing the cookie %s: %v", name, err)
	}
	if _, ok := p.Cookie(host, name); ok {
		p.b.t.Fatalf("the cookie %s is still there", name)
	}
}
