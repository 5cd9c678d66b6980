package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// ErrCrossSite: a request that would change something comes from another site, or shows
// nothing of where it comes from.
var ErrCrossSite = errors.New("request from another site")

// errNoSession is of the family of "log in again".
var errNoSession = fmt.Errorf("%w: no session", refresh.ErrLoginAgain)

// errSpeculative: a prefetch or prerender, of a page whose access token has run out.
var errSpeculative = fmt.Errorf("%w: nothing is refreshed for a prefetch or prerender", refresh.ErrTryAgain)

// retryAfter is what a browser is told to wait when nobody can tell, in seconds.
const retryAfter = "2"

// An answer is what a browser is told of an error: nothing of the error itself.
type answer struct {
	status int
	code   string
	advice string
}

func answerTo(err error) answer {
	switch {
	case errors.Is(err, ErrCrossSite):
		return answer{http.StatusForbidden, "cross_site", "The request comes from another site, or does not show in Sec-Fetch-Site or Origin where it comes from."}
	case errors.Is(err, refresh.ErrPossession), errors.Is(err, token.ErrInsufficient):
		return answer{http.StatusForbidden, "proof_required", "More proof of who you are is needed."}
	case errors.Is(err, refresh.ErrLoginAgain), errors.Is(err, token.ErrInvalidToken):
		return answer{http.StatusUnauthorized, "login_required", "Log in again."}
	case endedHere(err):
		return answer{http.StatusConflict, "pending", "The session has ended here; some services may not know it yet."}
	case errors.Is(err, refresh.ErrTryAgain), errors.Is(err, token.ErrUnavailable), errors.Is(err, refresh.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return answer{http.StatusServiceUnavailable, "temporarily_unavailable", "Try again in a moment."}
	case errors.Is(err, errNoID):
		return answer{http.StatusBadRequest, "invalid_request", "The form has no field id, which says which session is to end: take it from the list of sessions."}
	case errors.Is(err, errNoSuchSession):
		return answer{http.StatusNotFound, "not_found", "There is no such session."}
	}
	return answer{http.StatusInternalServerError, "server_error", "This is a fault of the service."}
}

// endedHere reports whether an error says that what was to end has ended in the store, and
// could not be published. Where the store failed, too, it may not have.
func endedHere(err error) bool {
	return errors.Is(err, refresh.ErrPending) && !errors.Is(err, refresh.ErrStore)
}

// Error answers a request with what an error of this package, of refresh or of token comes to:
//
//   - 401 for those of [refresh.ErrLoginAgain] and [token.ErrInvalidToken]
//   - 403 for [ErrCrossSite], [refresh.ErrPossession] and [token.ErrInsufficient]
//   - 409 for [refresh.ErrPending], unless the store failed as well
//   - 503 with Retry-After for those of [refresh.ErrTryAgain] and [token.ErrUnavailable]
//   - 500 for all else: the application's own mistake, [ErrTooLarge] and [refresh.ErrLogin] among them
//
// The body is a sentence where a person navigates, and a JSON object with error and
// error_description otherwise. It tells nothing of err.
func Error(w http.ResponseWriter, r *http.Request, err error) {
	writeAnswer(w, r, answerTo(err))
}

func writeAnswer(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	if a.status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", retryAfter)
	}
	if isNavigation(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		finish(w, a.status)
		fmt.Fprintln(w, a.advice)
		return
	}
	writeJSON(w, a.status, map[string]string{"error": a.code, "error_description": a.advice})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	finish(w, status)
	_ = json.NewEncoder(w).Encode(body) // who hangs up needs no answer
}

// finish writes the header of an answer of ours.
func finish(w http.ResponseWriter, status int) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
}

// redirect sends a browser to a path of this site.
func redirect(w http.ResponseWriter, status int, to string) {
	w.Header().Set("Location", to)
	finish(w, status)
}

// isNavigation reports whether a person follows a link or sends a form, and no script fetches.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// isSpeculative reports whether a browser loads what nobody has asked for yet.
func isSpeculative(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		for _, v := range r.Header[name] {
			if v = strings.ToLower(v); strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || strings.Contains(v, "preview") {
				return true
			}
		}
	}
	return false
}

// A limiter lets one warning a second through and counts the others.
type limiter struct{ second, held atomic.Int64 }

func (l *limiter) allow(now time.Time) (held int64, ok bool) {
	last, t := l.second.Load(), now.Unix()
	if last == t || !l.second.CompareAndSwap(last, t) {
		l.held.Add(1)
		return 0, false
	}
	return l.held.Swap(0), true
}

// warn tells of a failure that is not the browser's.
func (b *Browser) warn(ctx context.Context, what string, err error) {
	if held, ok := b.warned.allow(time.Now()); ok {
		b.log.WarnContext(ctx, what, "error", err, "unreported", held)
	}
}
