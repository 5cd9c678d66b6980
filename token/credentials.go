package token

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// The schemes of RFC 6750 and RFC 9449, as they stand in a challenge.
const (
	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"

	bearer = schemeBearer + " "
)

var (
	errNoToken  = errors.New("no access token")
	errScheme   = fmt.Errorf("%w: Authorization under another scheme", errNoToken)
	errNoDPoP   = fmt.Errorf("%w: Authorization under the scheme DPoP, and VerifierConfig.DPoP is nil", errNoToken)
	errTwice    = errors.New("more than one Authorization header")
	errNotToken = errors.New("malformed access token")
	errInQuery  = errors.New("access_token in the query string")
	errInForm   = errors.New("access_token in the form")
)

// credentials returns the token of a request, which is yet to be a token68, and the scheme it
// was presented under.
// Its errors hold nothing of it. The body is not read: a token in it is none.
func credentials(r *http.Request, dpop bool) (scheme, raw string, err error) {
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return "", "", errTwice
	}
	if r.URL != nil && r.URL.RawQuery != "" {
		// What does not parse is left out, and no handler will find it either.
		if query, _ := url.ParseQuery(r.URL.RawQuery); query.Has("access_token") {
			return "", "", errInQuery
		}
	}
	if r.PostForm.Has("access_token") { // somebody has read the body already
		return "", "", errInForm
	}
	if len(headers) == 0 {
		return "", "", errNoToken
	}
	if h := headers[0]; len(h) > len(bearer) && h[:len(bearer)] == bearer && h[len(bearer)] != ' ' { // as nearly all write it
		return schemeBearer, h[len(bearer):], nil
	}
	name, raw, _ := strings.Cut(headers[0], " ")
	switch {
	case asciiEqualFold(name, schemeBearer):
		scheme = schemeBearer
	case asciiEqualFold(name, schemeDPoP) && dpop:
		scheme = schemeDPoP
	case asciiEqualFold(name, schemeDPoP):
		return "", "", errNoDPoP
	default:
		return "", "", errScheme
	}
	return scheme, strings.TrimLeft(raw, " "), nil
}

// isToken68 reports whether s is a token68 (RFC 9110 section 11.2).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case inAlphabet[c], c == '.', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return body != ""
}
