package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/token"
)

// Middleware passes requests of a session on to next, which finds the claims by
// [token.FromContext]. opts hold for this route. It takes the access token from the cookie, and
// from nowhere else, and only one of [BrowserConfig].Client and of the issuer of Sessions; all that follows is as in [token.Verifier.Middleware]: what it checks, that the
// request's context ends when its token does, the status and body of its refusals. Beyond that:
//
//   - A request that comes from another site and would change something is refused with 403
//     before anything else: by [http.CrossOriginProtection] and, where neither Sec-Fetch-Site
//     nor Origin came, by the token of [Browser.CSRFToken]; a WebSocket's handshake by its Origin.
//   - Where the access token has run out, or is gone or of no use any more, the session is refreshed: in
//     [Passing] within this request, and the answer carries the new cookies; in [Separate] a navigation
//     is sent through the handler and back by 303 (a form by 307, which keeps its
//     body), and all else is answered 401. Of the requests of one session that come at
//     once, one refreshes, and the others wait for it. What a refresh cannot tell now is 503.
//   - A prefetch or prerender (Sec-Purpose) that would need a refresh is answered 503, and a
//     WebSocket's handshake 401: its page fetches something first.
//   - A navigation without a session is sent to LoginPath, if there is one.
//   - The answer has Cache-Control: no-store unless next says otherwise, and in any case where it
//     carries cookies: no cache, and no back button after the logout, shows a page again.
//
// next answers with a ResponseWriter that has the methods of [http.ResponseController]. Inside of a
// Middleware of the same Browser a second one checks its own options, and that nothing
// changed since. Middleware panics if next is nil or an option cannot take effect.
func (b *Browser) Middleware(next http.Handler, opts ...token.VerifyOption) http.Handler {
	if next == nil {
		panic("web: Middleware: nil handler")
	}
	route, err := admit.NewRoute(b.cfg.Verifier, opts, b)
	if err != nil {
		panic(err.Error()) // it could only ever answer 503
	}
	p := &page{route, b}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, inside, err := p.Again(r)
		switch {
		case err != nil:
			p.refuse(w, r, err)
			return
		case !inside:
			if w, a = b.enter(w, r, p, b.cfg.Layout == Passing); a == nil {
				return
			}
		}
		defer a.Stop()
		p.Accepted()
		next.ServeHTTP(w, r.WithContext(a))
	})
}

// AccessToken returns the access token that r was let in with by [Browser.Middleware], for a request
// that the application makes to another service on behalf of its user ("Authorization: Bearer"). Do
// not take it from the cookie: what the browser sent may have been refreshed since. A request to
// another site, or a page, must not get it. It is empty outside of Middleware.
func (b *Browser) AccessToken(r *http.Request) string { return admit.Raw(r.Context(), b) }

// errNoToken: there is no access token.
var errNoToken = errors.New("no access token")

// An admission is the context of a request that was let in.
type admission = admit.Admission

// A page is what requests of a session are let in to.
type page struct {
	admit.Route
	b *Browser
}

// owns reports whether an access token may be of one of b's sessions: the Verifier may accept
// those of other issuers and of other clients, too.
func (b *Browser) owns(c *token.Claims) bool {
	return c.ClientID() == b.cfg.Client && c.Issuer() == admit.IssuerOf(b.cfg.Sessions)
}

// errOtherClient: an app's access token may be for the same audience, and holds what its user has
// let that app do. It is no session of this browser's.
var errOtherClient = fmt.Errorf("%w: of another client or issuer", token.ErrInvalidToken)

func (p *page) admit(r *http.Request, raw string) (admission, error) {
	if raw == "" {
		return nil, errNoToken
	}
	a, err := p.Admit(r, raw)
	if err != nil {
		return nil, err
	}
	if claims, _ := token.FromContext(a); !p.b.owns(claims) {
		a.Stop()
		return nil, errOtherClient
	}
	return a, nil
}

func (p *page) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if err == errNoToken {
		err = nil
	}
	p.Refuse(w, r, err)
}

// A privateWriter keeps an answer that carries cookies out of every cache, whatever the
// handler says of its page.
type privateWriter struct {
	http.ResponseWriter
	begun bool
}

// Unwrap is for [http.ResponseController].
func (w *privateWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *privateWriter) begin() {
	if !w.begun {
		w.begun = true
		w.Header().Set("Cache-Control", "no-store")
	}
}

func (w *privateWriter) WriteHeader(status int) {
	w.begin()
	w.begun = status >= 200 // what is informational says nothing of what follows
	w.ResponseWriter.WriteHeader(status)
}

func (w *privateWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// WriteString implements [io.StringWriter].
func (w *privateWriter) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom implements [io.ReaderFrom].
func (w *privateWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements [http.Flusher].
func (w *privateWriter) Flush() { _ = w.FlushError() }

// FlushError is for [http.ResponseController].
func (w *privateWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}
