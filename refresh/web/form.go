package web

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Bounds on the body of a request: room for the largest token, escaped where it must be,
// and for a few parameters that we do not know.
const (
	maxBodyBytes      = 96 << 10
	maxFormParameters = 64
)

// A form holds the parameters of a request. One without a value is missing (RFC 6749
// section 3.2).
type form map[string]string

// readForm returns the parameters in the body of r. Those of the query are none.
func readForm(w http.ResponseWriter, r *http.Request) (form, *refusal) {
	if secretInQuery(r.URL) {
		return nil, refusedQuery
	}
	if kinds := r.Header.Values("Content-Type"); len(kinds) != 1 || !isFormType(kinds[0]) {
		return nil, refusedForm
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, refusedSize
	}
	if err != nil {
		return nil, refusedForm
	}
	f, ok := parseForm(string(body))
	if !ok {
		return nil, refusedForm
	}
	return f, nil
}

func isFormType(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// parseForm decodes a form. False: it is none, or has a parameter twice (RFC 6749 section
// 3.2), but for resource and audience, which may be repeated (RFC 8707 section 2, RFC 8693
// section 2.1) and mean nothing here.
func parseForm(body string) (form, bool) {
	if strings.Count(body, "&") >= maxFormParameters {
		return nil, false
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, false
	}
	f := make(form, len(values))
	for name, v := range values {
		switch {
		case !utf8.ValidString(name) || !utf8.ValidString(v[0]):
			return nil, false
		case len(v) > 1 && name != "resource" && name != "audience":
			return nil, false
		case v[0] != "":
			f[name] = v[0]
		}
	}
	return f, true
}

// secretInQuery reports whether somebody has put into the URL what logs and histories must
// not keep. Other parameters there are ignored.
func secretInQuery(u *url.URL) bool {
	if u.RawQuery == "" {
		return false
	}
	query, _ := url.ParseQuery(u.RawQuery) // what does not parse is left out, and means nothing
	for _, name := range []string{"refresh_token", "access_token", "token", "client_secret", "client_assertion"} {
		if query.Has(name) {
			return true
		}
	}
	return false
}

// scope returns the values of a scope parameter, nil if there is none.
func (f form) scope() []string {
	if f["scope"] == "" {
		return nil
	}
	return strings.Fields(f["scope"])
}

func joinScope(scope []string) string { return strings.Join(scope, " ") }
