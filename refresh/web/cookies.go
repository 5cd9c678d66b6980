package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// maxCookieBytes is what browsers take of a cookie's name and value together; a larger one
// they drop without a word (RFC 6265bis section 5.6).
const maxCookieBytes = 4096

// ErrTooLarge: an access token is too large for a cookie. The error names the claims that
// take the most room.
var ErrTooLarge = errors.New("access token too large for a cookie")

// cookieNames are the names and paths of the two cookies. The prefix of a name is what has
// browsers refuse a cookie of that name that a sibling subdomain, a page on http or a script has
// made (RFC 6265bis section 4.1.3; __Host-Http-, of the layered cookies draft, for scripts).
type cookieNames struct {
	access, refresh string
	refreshPath     string
}

func newCookieNames(l Layout, name, path string, bound bool) cookieNames {
	n := cookieNames{access: "__Host-Http-" + name, refresh: "__Host-Http-" + name + "-refresh", refreshPath: "/"}
	if bound {
		n.access = "__Host-" + name // Chromium 156 binds no cookie of the longer prefix: InvalidCredentialsCookie
	}
	if l == Separate {
		n.refresh, n.refreshPath = "__Secure-"+name+"-refresh", path
	}
	return n
}

// presented are the cookies that a request came with.
type presented struct {
	access, refresh string // empty: none
	twice           bool   // one of them came twice, so that there is none of either

	// Where one came twice, each of all by itself: for a logout, which has to end the session
	// whichever of them is the user's.
	each []presented
}

// cookies reads the session's cookies. It is http.Request.Cookie in what it takes for a pair,
// but for quotes and blanks that are none in ASCII, which it leaves as they are: a name that is
// not ours to the last byte is another cookie, and a value that is no token is for those who read
// tokens to refuse. It allocates nothing.
func (b *Browser) cookies(r *http.Request) (p presented) {
	var access, refresh int
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			switch {
			case !ok:
			case name == b.names.access:
				access++
				p.access = value
			case name == b.names.refresh:
				refresh++
				p.refresh = value
			}
		}
	}
	if access > 1 || refresh > 1 {
		return presented{twice: true, each: b.eachCookie(r)}
	}
	if len(b.names.access)+len(p.access) > maxCookieBytes {
		p.access = ""
	}
	if len(b.names.refresh)+len(p.refresh) > maxCookieBytes {
		p.refresh = ""
	}
	return p
}

// maxEach is how many cookies a logout looks at where they came more than once: who plants
// more of them has it miss some.
const maxEach = 16

// eachCookie returns the session's cookies one by one.
func (b *Browser) eachCookie(r *http.Request) (each []presented) {
	for _, c := range r.Cookies() {
		switch {
		case len(each) == maxEach:
			return each
		case len(c.Name)+len(c.Value) > maxCookieBytes:
		case c.Name == b.names.access:
			each = append(each, presented{access: c.Value})
		case c.Name == b.names.refresh:
			each = append(each, presented{refresh: c.Value})
		}
	}
	return each
}

// A pair is what a browser is given: both cookies or none.
type pair struct{ access, refresh string }

// pairOf returns the Set-Cookie lines of a grant. A retry within the grace window is given the
// same refresh token, and then the same line: it expires at a time that the rotation has set,
// and not after one that counts from the answer. The access token's counts from the answer,
// so that a browser whose clock is wrong keeps it.
func (b *Browser) pairOf(g *refresh.Grant) (pair, error) {
	if err := b.fits(g); err != nil {
		return pair{}, err
	}
	access := b.cookie(b.names.access, g.AccessToken(), "/")
	if b.cfg.Layout == Separate && !admit.DeviceBound(g) { // a bound one's browser proves when it is gone
		// By an access token that has run out the middleware knows that there is a session.
		access.Expires = g.RefreshExpires
	} else {
		access.MaxAge = max(int(g.AccessTimeout/time.Second), 1)
	}
	refresh := b.cookie(b.names.refresh, g.RefreshToken(), b.names.refreshPath)
	refresh.Expires = g.RefreshExpires
	return pair{access.String(), refresh.String()}, nil
}

func (b *Browser) cookie(name, value, path string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: path, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// set gives the browser both cookies, in place of whatever the answer said of them before.
func (b *Browser) set(w http.ResponseWriter, p pair) {
	b.unset(w)
	w.Header().Add("Set-Cookie", p.access)
	w.Header().Add("Set-Cookie", p.refresh)
}

// clear takes both cookies from the browser. Browsers judge a deletion by the rules of the
// name's prefix, so it has all the attributes of a cookie.
func (b *Browser) clear(w http.ResponseWriter) {
	b.unset(w)
	for _, c := range b.deletions() {
		w.Header().Add("Set-Cookie", c.String())
	}
}

// clearPartitioned does so with cookies of our names that are partitioned, which only others make:
// where a cookie came twice, that is the other of the two.
func (b *Browser) clearPartitioned(w http.ResponseWriter) {
	for _, c := range b.deletions() {
		c.Partitioned = true
		w.Header().Add("Set-Cookie", c.String())
	}
}

func (b *Browser) deletions() []*http.Cookie {
	both := []*http.Cookie{b.cookie(b.names.access, "", "/"), b.cookie(b.names.refresh, "", b.names.refreshPath)}
	for _, c := range both {
		c.MaxAge = -1
	}
	return both
}

// unset removes what the answer says of our cookies.
func (b *Browser) unset(w http.ResponseWriter) {
	h := w.Header()
	if lines := h["Set-Cookie"]; len(lines) > 0 {
		h["Set-Cookie"] = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			return strings.HasPrefix(line, b.names.access+"=") || strings.HasPrefix(line, b.names.refresh+"=")
		})
	}
}

// fits returns an error if browsers would drop one of the cookies.
func (b *Browser) fits(g *refresh.Grant) error {
	n := len(b.names.access) + len(g.AccessToken())
	if n <= maxCookieBytes {
		return nil // refresh tokens have 125 bytes
	}
	return fmt.Errorf("%w: name and value have %d bytes, more than %d%s", ErrTooLarge, n, maxCookieBytes, largestClaims(g.AccessToken()))
}

// largestClaims names the claims of a token of ours that take the most room, and no value.
func largestClaims(raw string) string {
	_, rest, _ := strings.Cut(raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(payload)
	var claims map[string]json.RawMessage
	if err != nil || json.Unmarshal(decoded, &claims) != nil {
		return ""
	}
	type size struct {
		name  string
		bytes int
	}
	var sizes []size
	for name, value := range claims {
		sizes = append(sizes, size{name, len(value)})
	}
	slices.SortFunc(sizes, func(a, b size) int {
		if a.bytes != b.bytes {
			return b.bytes - a.bytes
		}
		return strings.Compare(a.name, b.name)
	})
	var said []string
	for _, s := range sizes[:min(len(sizes), 3)] {
		said = append(said, fmt.Sprintf("%s %d", s.name, s.bytes))
	}
	return ": the largest claims have, in bytes of JSON, " + strings.Join(said, ", ")
}
