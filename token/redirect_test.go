package token

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
)

// Where a redirect may lead when the connection itself is checked.
func TestGuardRedirect(t *testing.T) {
	to := func(raw string) *http.Request {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{URL: u}
	}
	proxied := errors.New("the proxy's configuration cannot be read")
	for _, x := range []struct {
		from, to string
		custom   bool
		proxyErr error
		ok       bool
	}{
		{"https://a.example/1", "https://a.example/2", false, nil, true},
		{"https://a.example/1", "https://b.example/1", false, nil, true}, // where dial looks at the address
		{"https://a.example/1", "https://a.example:8443/1", false, nil, true},
		{"https://a.example/1", "http://a.example/1", false, nil, false},
		{"https://a.example/1", "http://b.example/1", false, nil, false},
		{"https://a.example/1", "ftp://a.example/1", false, nil, false},
		{"https://a.example/1", "file:///etc/passwd", false, nil, false},
		{"https://a.example/1", "https://u:p@a.example/1", false, nil, false},
		{"http://a.example/1", "http://a.example/2", false, nil, true}, // InsecureAllowHTTP
		{"http://a.example/1", "https://b.example/2", false, nil, true},
		{"http://a.example/1", "gopher://a.example/2", false, nil, false},
		{"https://a.example/1", "https://a.example/2", true, nil, true},
		{"https://a.example/1", "https://b.example/1", true, nil, false},
		{"https://a.example/1", "https://a.example:8443/1", true, nil, false},
		{"http://a.example/1", "https://a.example/1", true, nil, false},
		{"https://a.example/1", "https://b.example/1", false, proxied, false},
	} {
		g := &guard{custom: x.custom, seams: seams{isPublic, func(*http.Request) (*url.URL, error) { return nil, x.proxyErr }}}
		if err := g.redirect(to(x.to), []*http.Request{to(x.from)}); (err == nil) != x.ok {
			t.Errorf("%s to %s, custom transport %v: error %v", x.from, x.to, x.custom, err)
		}
	}
	g := &guard{seams: seams{isPublic, func(*http.Request) (*url.URL, error) { return nil, nil }}}
	via := []*http.Request{to("https://a.example/")}
	for range maxRedirects {
		if err := g.redirect(to("https://a.example/"), via); err != nil {
			t.Errorf("redirect %d: %v", len(via), err)
		}
		via = append(via, to("https://a.example/"))
	}
	if err := g.redirect(to("https://a.example/"), via); err == nil {
		t.Error("one redirect too many is followed")
	}
}
