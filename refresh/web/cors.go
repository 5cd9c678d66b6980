package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Origins are the origins of pages in browsers, such as "https://app.example.com", that may
// call the endpoints and read their answers (CORS), for each group of them. An origin is
// compared byte for byte, as browsers send it: scheme and host in lower case, the port only
// if it is not the scheme's. None is allowed to send cookies along. Empty means that only pages
// of the same origin read the answers of that group.
type Origins struct {
	Token      []string // the token endpoint
	Revocation []string // the revocation endpoint
	Account    []string // logout and the list of sessions
	Metadata   []string // the metadata; "*" alone stands for all pages: it is public
}

func (o Origins) clone() Origins {
	for _, list := range o.lists() {
		*list.origins = slices.Clone(*list.origins)
	}
	return o
}

type originList struct {
	field   string
	origins *[]string
}

func (o *Origins) lists() []originList {
	return []originList{{"Token", &o.Token}, {"Revocation", &o.Revocation}, {"Account", &o.Account}, {"Metadata", &o.Metadata}}
}

// check returns the field that holds what cannot be the origin of a page, and why.
func (o Origins) check() (field, why string) {
	for _, list := range o.lists() {
		if list.field == "Metadata" && slices.Equal(o.Metadata, anyOrigin) {
			continue
		}
		for _, origin := range *list.origins {
			if why := badOrigin(origin); why != "" {
				return list.field, fmt.Sprintf("holds %q, which %s", origin, why)
			}
		}
	}
	return "", ""
}

var anyOrigin = []string{"*"}

func badOrigin(origin string) string {
	if origin == "*" || origin == "null" {
		return "stands for pages that nobody knows"
	}
	u, err := url.Parse(origin)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host:
		return "is no origin: scheme, host and port, without a slash at its end"
	case origin != strings.ToLower(origin):
		return "no browser sends: an origin is in lower case"
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return "no browser sends: the port is the scheme's own"
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "is in the clear: anybody on the way can change the page"
	}
	return ""
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// What pages may send and read beside what every page may.
const (
	corsRequestHeaders  = "Authorization, Content-Type, DPoP"
	corsResponseHeaders = "DPoP-Nonce, Retry-After, WWW-Authenticate"
	corsMaxAge          = "600" // seconds
)

// An endpoint answers the methods that it has, and pages of its origins.
type endpoint struct {
	origins []string
	methods map[string]http.HandlerFunc
	allow   string
}

func newEndpoint(origins []string, methods map[string]http.HandlerFunc) *endpoint {
	names := make([]string, 0, len(methods))
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return &endpoint{origins, methods, strings.Join(names, ", ")}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(e.origins) > 0 && e.cors(w, r) {
		return
	}
	if handle, ok := e.methods[r.Method]; ok {
		handle(w, r)
		return
	}
	w.Header().Set("Allow", e.allow)
	finish(w, http.StatusMethodNotAllowed)
}

// cors writes the headers by which a browser lets a page read the answer, and answers what
// a browser asks before it sends a page's request.
func (e *endpoint) cors(w http.ResponseWriter, r *http.Request) (answered bool) {
	h := w.Header()
	if slices.Equal(e.origins, anyOrigin) {
		h.Set("Access-Control-Allow-Origin", "*") // what every page may send needs no question beforehand
		return false
	}
	h.Add("Vary", "Origin")
	asked := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	origins := r.Header.Values("Origin")
	known := len(origins) == 1 && slices.Contains(e.origins, origins[0])
	if known {
		h.Set("Access-Control-Allow-Origin", origins[0])
		if !asked {
			h.Set("Access-Control-Expose-Headers", corsResponseHeaders)
		}
	}
	if !asked {
		return false
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if !known {
		finish(w, http.StatusForbidden)
		return true
	}
	h.Set("Access-Control-Allow-Methods", e.allow)
	h.Set("Access-Control-Allow-Headers", corsRequestHeaders)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	finish(w, http.StatusNoContent)
	return true
}
