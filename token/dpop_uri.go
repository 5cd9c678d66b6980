package token

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxURIBytes bounds htu, as sent and in its normal form.
const maxURIBytes = 4 << 10

// url returns the URL of r as its client sees it, without the query.
func (s *dpopState) url(r *http.Request) string {
	if s.cfg.URL != nil {
		return s.cfg.URL(r)
	}
	// The request line as it came: r.URL may have been rewritten by handlers before us.
	u := r.URL
	if r.RequestURI != "" {
		if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
			u = sent
		}
	}
	if u == nil {
		return ""
	}
	return s.base + u.EscapedPath()
}

var errURI = errors.New("not an absolute http or https URI")

// normalURI returns the scheme, host and path of an http or https URI in the normal
// form of RFC 3986 sections 6.2.2 and 6.2.3: letters of scheme, host and escapes in
// one case, no escapes of unreserved characters, no dot segments, no default port, no
// empty path. Query and fragment are dropped.
func normalURI(s string) (string, error) {
	if len(s) > maxURIBytes {
		return "", errURI
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil {
		return "", errURI
	}
	scheme := strings.ToLower(u.Scheme)
	port := map[string]string{"http": "80", "https": "443"}[scheme]
	host := strings.ToLower(u.Hostname())
	if port == "" || host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || r == '%' }) {
		return "", errURI
	}
	if p := u.Port(); p != "" && p != port {
		host = net.JoinHostPort(host, p)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	normal := scheme + "://" + host + removeDots(normalEscapes(u.EscapedPath()))
	if len(normal) > maxURIBytes { // escaping makes three bytes of one
		return "", errURI
	}
	return normal, nil
}

// normalEscapes writes escapes in upper case, and unreserved characters plain.
func normalEscapes(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		escape := strings.ToUpper(path[i : i+3])
		plain, err := url.PathUnescape(escape)
		if err == nil && (inAlphabet[plain[0]] || plain[0] == '.' || plain[0] == '~') {
			escape = plain
		}
		b.WriteString(escape)
		i += 2
	}
	return b.String()
}

// removeDots removes the dot segments of an absolute path (RFC 3986 section 5.2.4).
func removeDots(path string) string {
	var out []string
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
