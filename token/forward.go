package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/refusals"
)

// ForwardAuthConfig configures [NewForwardAuth]: how a proxy that asks before it lets a
// request through (nginx auth_request, caddy forward_auth) tells which request that is.
type ForwardAuthConfig struct {
	// MethodHeader and URIHeader are the headers in which the proxy tells the method and
	// the target, path and query, of the request that it asks about. The proxy must set both
	// itself, in place of any that a client sent: what they say is believed, of a request
	// that FromProxy takes for the proxy's. Required, and not the same.
	MethodHeader, URIHeader string

	// HostHeader is the header in which the proxy tells the Host of that request, for a
	// [DPoPConfig].URL that judges it. Empty means that the Host of the proxy's own request
	// stands: with a [DPoPConfig].BaseURL none is needed.
	HostHeader string

	// FromProxy reports whether a request comes from the proxy, see [FromAddresses]. Others
	// are answered 403: who could ask in the proxy's place could have a DPoP proof that was
	// made for one request accepted for another. Required.
	FromProxy func(*http.Request) bool

	// Logger hears, once a minute, of requests that do not come from the proxy or lack
	// those headers. Nil means silent.
	Logger *slog.Logger
}

// NewForwardAuth returns the handler that a proxy asks. It gives next, usually made by
// [Verifier.Middleware], the request that the proxy asks about: its method, target and host
// in place of those of the proxy's question, so that DPoP proofs are held against what the
// client sent, an access_token in the query is seen, and an http.ServeMux may demand
// other scopes of other routes. It has no body, and no TLS: that was the proxy's, and
// [VerifierConfig].ClientCertificate says where the proxy wrote the client's certificate.
//
// What next answers goes to the proxy, with one difference: challenges stand in one
// WWW-Authenticate line, separated by commas (RFC 9110 section 11.6.1), since nginx hands on only
// the first. A question without the headers is answered 500: the proxy is not configured
// as said here, and its own method and path are never taken for the client's. A target
// that is no path with a query is answered 400: the client may have sent it so.
//
// docs/forward-auth.md has the proxies' side. The error names the field of cfg that is to blame.
func NewForwardAuth(cfg ForwardAuthConfig, next http.Handler) (http.Handler, error) {
	refuse := func(field, why string) error {
		return &ConfigError{Config: "token.ForwardAuthConfig", Field: field, Reason: why}
	}
	for _, h := range []struct{ field, name string }{{"MethodHeader", cfg.MethodHeader}, {"URIHeader", cfg.URIHeader}, {"HostHeader", cfg.HostHeader}} {
		switch name := http.CanonicalHeaderKey(h.name); {
		case name == "" && h.field == "HostHeader":
		case name == "":
			return nil, refuse(h.field, "is empty: what the client asked for would not be known")
		case !isToken(name):
			return nil, refuse(h.field, fmt.Sprintf("is %q, which is no name of a header", name))
		case slices.Contains([]string{"Authorization", "Dpop", "Host", "Cookie", "Content-Length", "Transfer-Encoding", "Connection"}, name):
			return nil, refuse(h.field, fmt.Sprintf("is %q, which has another meaning", name))
		}
	}
	cfg.MethodHeader, cfg.URIHeader, cfg.HostHeader = http.CanonicalHeaderKey(cfg.MethodHeader), http.CanonicalHeaderKey(cfg.URIHeader), http.CanonicalHeaderKey(cfg.HostHeader)
	switch {
	case cfg.MethodHeader == cfg.URIHeader:
		return nil, refuse("URIHeader", "is that of the method")
	case cfg.HostHeader == cfg.MethodHeader, cfg.HostHeader == cfg.URIHeader:
		return nil, refuse("HostHeader", "is that of the method or the target")
	case cfg.FromProxy == nil:
		return nil, refuse("FromProxy", "is nil: anybody could ask in the proxy's place")
	case next == nil:
		return nil, errors.New("token: NewForwardAuth: nil handler")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &forwardAuth{cfg: cfg, next: next}, nil
}

type forwardAuth struct {
	cfg     ForwardAuthConfig
	next    http.Handler
	refused refusals.Log
}

func (f *forwardAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.cfg.FromProxy(r) {
		f.refuse(w, r, http.StatusForbidden, "not_the_proxy", errNotTheProxy)
		return
	}
	asked, err := f.asked(r)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, errTarget) { // which proxies hand on as clients send it
			status = http.StatusBadRequest
		}
		f.refuse(w, r, status, "proxy", err)
		return
	}
	f.next.ServeHTTP(&oneChallenge{ResponseWriter: w}, asked)
}

var (
	errNotTheProxy = errors.New("a request that ForwardAuthConfig.FromProxy does not take for the proxy's")
	errTarget      = errors.New("is no path with a query")
)

// asked returns the request that the proxy asks about.
func (f *forwardAuth) asked(r *http.Request) (*http.Request, error) {
	method, err := f.told(r, f.cfg.MethodHeader)
	if err != nil {
		return nil, err
	}
	target, err := f.told(r, f.cfg.URIHeader)
	if err != nil {
		return nil, err
	}
	if !isToken(method) {
		return nil, fmt.Errorf("the header %s is no method", f.cfg.MethodHeader)
	}
	// Of "//host/path" ParseRequestURI makes a path. A target of another form says more
	// than path and query, and nobody can know how the proxy understood it.
	u, err := url.ParseRequestURI(target)
	if err != nil || target[0] != '/' || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }) {
		return nil, fmt.Errorf("the header %s %w", f.cfg.URIHeader, errTarget)
	}
	a := r.Clone(context.WithValue(r.Context(), admissionKey{}, nil))
	a.Method, a.URL, a.RequestURI = method, u, target
	a.Body, a.ContentLength, a.TransferEncoding = http.NoBody, 0, nil
	a.Form, a.PostForm, a.MultipartForm, a.Trailer = nil, nil, nil, nil
	a.TLS = nil
	if f.cfg.HostHeader != "" {
		if a.Host, err = f.told(r, f.cfg.HostHeader); err != nil {
			return nil, err
		}
	}
	for _, h := range []string{f.cfg.MethodHeader, f.cfg.URIHeader, f.cfg.HostHeader} {
		a.Header.Del(h)
	}
	return a, nil
}

// told returns the one value of a header that the proxy sets.
func (f *forwardAuth) told(r *http.Request, name string) (string, error) {
	switch values := r.Header[name]; {
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("the proxy does not set the header %s", name)
	case len(values) > 1:
		return "", fmt.Errorf("the header %s is there twice: the proxy must replace what clients send", name)
	default:
		return values[0], nil
	}
}

func (f *forwardAuth) refuse(w http.ResponseWriter, r *http.Request, status int, cause string, err error) {
	f.refused.Refused(r.Context(), f.cfg.Logger, time.Now(), "token: a question of a proxy cannot be answered", cause, err)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

// FromAddresses returns a [ForwardAuthConfig].FromProxy that takes requests whose
// connection comes from one of those networks. It looks at the connection alone, at no
// header. With none it takes nobody's.
func FromAddresses(networks ...netip.Prefix) func(*http.Request) bool {
	networks = slices.Clone(networks)
	return func(r *http.Request) bool {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return false
		}
		addr := from.Addr().Unmap().WithZone("")
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
	}
}

// oneChallenge writes all challenges as one header line.
type oneChallenge struct {
	http.ResponseWriter
	wrote bool
}

func (w *oneChallenge) WriteHeader(status int) {
	if h := w.Header(); !w.wrote && len(h["Www-Authenticate"]) > 1 {
		h["Www-Authenticate"] = []string{strings.Join(h["Www-Authenticate"], ", ")}
	}
	w.wrote = w.wrote || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

func (w *oneChallenge) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *oneChallenge) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// isToken reports whether s is a token (RFC 9110 section 5.6.2): a method or a header's name.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}
