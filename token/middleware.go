package token

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// retryAfter is what a client is told to wait when nobody can tell, in seconds: a
// stale denylist is usually fresh again within that time.
const retryAfter = "2"

type contextKey struct{}

// NewContext returns ctx with the claims of the token that a request came with.
func NewContext(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the claims that [Verifier.Middleware] accepted the request
// with, and whether there are any.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(contextKey{}).(*Claims)
	return c, ok && c != nil
}

// Middleware passes requests with an acceptable bearer token on to next, which
// finds the claims by [FromContext]. opts hold for this route. The token is taken
// from the Authorization header only (RFC 6750 section 2.1). Everything else is
// answered here:
//
//   - no token: 401, with a challenge that names no error (RFC 6750 section 3.1)
//   - two Authorization headers, a malformed one, or an access_token in the query,
//     which logs and histories would keep: 400 invalid_request
//   - a token of the family [ErrInvalidToken]: 401 invalid_token, the same bytes
//     whatever is wrong with it
//   - anything else, a stale denylist or missing keys: 503 with Retry-After, never
//     401, because the token may be good
//
// Why a token was refused is told to [VerifierConfig].Logger alone. A token in a form
// body is neither read nor looked for, since the body is next's. Middleware panics if
// next is nil or a policy in opts cannot take effect.
func (v *Verifier) Middleware(next http.Handler, opts ...VerifyOption) http.Handler {
	if next == nil {
		panic("token: Middleware: nil handler")
	}
	if _, err := v.call(context.Background(), opts); err != nil {
		panic(err.Error()) // it could only ever answer 503
	}
	challenge := "Bearer"
	if realm, ok := quoted(v.cfg.Audiences[0]); ok {
		challenge += " realm=" + realm
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := bearer(r)
		switch {
		case errors.Is(err, errNoToken):
			refuse(w, http.StatusUnauthorized, challenge)
			return
		case err != nil:
			v.cfg.Logger.DebugContext(r.Context(), "token: request refused", "error", err)
			refuse(w, http.StatusBadRequest, withError(challenge, "invalid_request"))
			return
		}
		claims, err := v.Verify(r.Context(), raw, opts...)
		switch {
		case err == nil:
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), claims)))
		case errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrUnavailable):
			v.cfg.Logger.DebugContext(r.Context(), "token: token refused", "error", err)
			refuse(w, http.StatusUnauthorized, withError(challenge, "invalid_token"))
		default:
			if heldBack, ok := v.warned.allow(time.Now()); ok {
				v.cfg.Logger.WarnContext(r.Context(), "token: tokens cannot be verified", "error", err, "unreported", heldBack)
			}
			w.Header().Set("Retry-After", retryAfter)
			refuse(w, http.StatusServiceUnavailable, "")
		}
	})
}

// A limiter lets one warning through a second, and counts the others: an outage must
// not bring a flood of lines with it.
type limiter struct {
	last  atomic.Int64 // unix seconds
	count atomic.Int64 // held back since
}

func (l *limiter) allow(now time.Time) (heldBack int64, ok bool) {
	last, t := l.last.Load(), now.Unix()
	if last == t || !l.last.CompareAndSwap(last, t) {
		l.count.Add(1)
		return 0, false
	}
	return l.count.Swap(0), true
}

var (
	errNoToken  = errors.New("no bearer token")
	errTwice    = errors.New("more than one Authorization header")
	errNotToken = errors.New("malformed bearer token")
	errInQuery  = errors.New("access_token in the query string")
)

// bearer returns the token of a request. Its errors hold nothing of it.
func bearer(r *http.Request) (string, error) {
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return "", errTwice
	}
	if r.URL != nil && r.URL.RawQuery != "" {
		// What does not parse is left out, and no handler will find it either.
		if query, _ := url.ParseQuery(r.URL.RawQuery); query.Has("access_token") {
			return "", errInQuery
		}
	}
	if len(headers) == 0 {
		return "", errNoToken
	}
	scheme, raw, _ := strings.Cut(headers[0], " ")
	if !asciiEqualFold(scheme, "bearer") {
		return "", errNoToken
	}
	if raw = strings.TrimLeft(raw, " "); !isToken68(raw) {
		return "", errNotToken
	}
	return raw, nil
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

// refuse answers without a word about the reason: what a challenge does not say is
// nobody's business.
func refuse(w http.ResponseWriter, status int, challenge string) {
	h := w.Header()
	if challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	io.WriteString(w, http.StatusText(status)+"\n")
}

func withError(challenge, code string) string {
	if challenge == "Bearer" {
		return challenge + ` error="` + code + `"`
	}
	return challenge + `, error="` + code + `"`
}

// quoted returns s as a quoted-string (RFC 9110 section 5.6.4) if it is printable ASCII.
func quoted(s string) (string, bool) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", false
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, true
}
