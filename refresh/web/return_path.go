package web

import (
	"net/http"
	"net/url"
	"strings"
)

// maxReturnPath bounds a return address.
const maxReturnPath = 2048

// ReturnPath returns s if a browser that is sent there stays on this site, and "/" otherwise: for
// a page that a login form, or a link to it, says to go to afterwards. It takes a path with or
// without a query, in printable ASCII, of at most 2,048 bytes. What a browser, or a proxy that
// tidies addresses up, may read as another host is refused: //host, /\host, a
// scheme, control characters, and such paths written with %2f, %5c or dot segments.
func ReturnPath(s string) string {
	if !staysHere(s) {
		return "/"
	}
	return s
}

func staysHere(s string) bool {
	if s == "" || s[0] != '/' || len(s) > maxReturnPath {
		return false
	}
	for i := range len(s) {
		// Browsers take a backslash for a slash, and leave tabs and line breaks out.
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '\\' {
			return false
		}
	}
	path, _, _ := strings.Cut(s, "#")
	path, _, _ = strings.Cut(path, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(decoded, "\\\x00\t\r\n") {
		return false
	}
	if twice, err := url.PathUnescape(decoded); err == nil {
		decoded = twice // by a proxy that decodes once more than it should
	}
	if strings.Contains(decoded, "//") || strings.Contains(decoded, `\`) {
		return false
	}
	for segment := range strings.SplitSeq(decoded, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && u.Opaque == ""
}

// requested returns the path and query that the browser has asked for, whatever a handler
// further out has cut off.
func requested(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}
