package web

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// AppConfig configures an [App].
type AppConfig struct {
	// Sessions are refreshed and ended. Required.
	Sessions *refresh.Manager

	// Verifier accepts the access tokens that Sessions issues. It must be that of one
	// issuer, whose iss is an https URL; http is for loopback addresses. Required.
	Verifier *token.Verifier

	// Path is where the endpoints are on the issuer's host: "/oauth/token" with the Path
	// "/oauth/". It begins and ends with a slash. Empty means "/oauth/".
	Path string

	// Client says whether c names a client and proves it (RFC 6749 section 2.3): by its
	// secret, or, where c.Method is "none", because it is a public client, which has none, or
	// by the TLS certificate of r. False refuses the request. An error means that nobody can
	// tell now: the client is told to try again. The body of r has been read. A request with
	// Basic credentials may be asked about twice, see [Credentials]. Guesses are the
	// application's to slow down. It may be called concurrently. Required.
	Client func(r *http.Request, c Credentials) (bool, error)

	// Resource says which resource server c names and proves, by the audiences that it goes
	// by, for the introspection endpoint: of a token for none of them it is told that it is not
	// active. No audience refuses the request, an error is one of Client's. A request without
	// a secret is refused without asking, unless ClientCertificate returns a certificate for
	// it. Nil means that there is no such endpoint.
	Resource func(r *http.Request, c Credentials) (audiences []string, err error)

	// Publisher revokes the access tokens of no session, such as those of a client's own
	// (client credentials): the one that Sessions has. Nil means that the revocation endpoint
	// answers unsupported_token_type for them.
	Publisher refresh.Publisher

	// DPoP checks the proofs of clients that bind their tokens to a key (RFC 9449 section 5).
	// That of the Verifier will do. Nil means that proofs are not looked at: no session is
	// begun with a key, and one that has one is not refreshed.
	DPoP *token.DPoP

	// ClientCertificate returns the client's TLS certificate, nil if there is none, for
	// sessions that are bound to one (RFC 8705 section 3). Where TLS ends in front of this process
	// it must take it from where only the proxy can write. Nil means that certificates
	// bind nothing. Set it where every client has one: a session that is bound to none is
	// not refreshed by a client that shows one.
	ClientCertificate func(r *http.Request) *x509.Certificate

	// Device says where a session lives, for the page of the user's devices; it is asked at
	// each refresh. Nil means that what the login said stays.
	Device func(r *http.Request) refresh.Device

	// Origins are those of pages in browsers that may call the endpoints. Zero means none.
	Origins Origins

	// JWKS is the URL of the issuer's keys, jwks_uri of the metadata. Empty leaves it out.
	JWKS string

	// Metadata are further members of the metadata (RFC 8414 section 2), such as
	// authorization_endpoint. They may replace what this package says, but not issuer and the
	// addresses of its endpoints. Nil means none.
	Metadata map[string]any

	// Logger receives what could not be answered, at most once a second, and at debug level
	// why requests are refused. Nil means silent.
	Logger *slog.Logger
}

// An App answers apps and other programs in JSON. Its methods may be called concurrently. It
// has no background and needs no Close.
//
// Under [AppConfig].Path are, each for POST unless it says otherwise:
//
//   - token: refreshes (RFC 6749 section 6). 200 with tokens, as [WriteGrant] writes them; 400
//     with an error of section 5.2 or of RFC 9449 section 5; 401 where Basic credentials were
//     refused; 503 with Retry-After where nobody can tell: the client keeps its tokens.
//     RFC 6749 knows no 409: a session that is over is invalid_grant, also while not all
//     services know it yet
//   - revoke: revokes a refresh token or an access token (RFC 7009) by ending its session. 200,
//     also for a token that is unknown or over; 400 for one of another client; 503 where it
//     could not be made certain, or only half of it ([refresh.ErrPending])
//   - introspect, if [AppConfig].Resource is set: tells resource servers of an access token (RFC
//     7662). 200; 401 where the caller is not authenticated; 503 where nobody can tell, never
//     "active":false. A refresh token is never active: it is for nobody but this service. A
//     service that caches an answer misses a revocation for as long: cache none for longer
//     than the MaxStaleness of the denylist, 15 s. JWT answers (RFC 9701) are not supported
//   - logout: ends the session of the access token in the Authorization header or, if there is
//     none, of the refresh_token in the form, of an authenticated client. 204 when it is over
//     everywhere; 409 when it is over and not every service knows it yet
//     ([refresh.ErrPending]): ask again; 503 where nobody can tell; 401 where the access token
//     is refused: if it has only run out, the refresh token will do
//   - logout-all: ends all sessions of the access token's subject. Answers as logout
//   - sessions, for GET: {"sessions":[…]}, those of the access token's subject, the newest login
//     first, each with id, current, client_id, scope, device, address, created, last_used,
//     expires, auth_time (RFC 3339), acr and amr
//   - sessions/{id}, for DELETE: ends one of them. Answers as logout; 404 where it is no live
//     session of the subject's
//
// and, elsewhere, the metadata (RFC 8414), see [App.Handler].
//
// The access token of the last four is accepted as [token.Verifier.Middleware] does, and must
// belong to a session. The Verifier should accept no audience that is another service's, or
// that service could log its users out.
//
// Every answer but the metadata is sent with Cache-Control: no-store. The body of a POST is a
// form (application/x-www-form-urlencoded) of at most 96 KiB: a parameter that stands there
// twice, or a secret in the query, is refused. No cookie is looked at, so that another site's
// page can do nothing in a user's name.
type App struct {
	cfg    AppConfig
	log    *slog.Logger
	iss    string
	issuer *url.URL
	base   string // URL of the endpoints, without the slash at its end
	mux    *http.ServeMux
	warned limiter
}

// NewApp returns an App. The error names the field of cfg that is to blame.
func NewApp(cfg AppConfig) (*App, error) {
	refuse := func(field, why string) (*App, error) {
		return nil, fmt.Errorf("web: AppConfig: field %s %s", field, why)
	}
	switch {
	case cfg.Sessions == nil:
		return refuse("Sessions", "is nil")
	case cfg.Verifier == nil:
		return refuse("Verifier", "is nil")
	case cfg.Client == nil:
		return refuse("Client", "is nil: nobody could say who is a client")
	}
	iss, u, why := soleIssuer(cfg.Verifier)
	if why != "" {
		return refuse("Verifier", why)
	}
	if err := cfg.Verifier.CheckOptions(asIssuer, knownAll); err != nil {
		return refuse("Verifier", "cannot be asked about a token that is to be revoked: "+err.Error())
	}
	if admit.IssuerOf(cfg.Sessions) != iss {
		return refuse("Verifier", "is of another issuer than Sessions: what is logged out by its tokens would go on")
	}
	if cfg.JWKS != "" && !isAbsolute(cfg.JWKS) {
		return refuse("JWKS", "is no absolute URL")
	}
	if cfg.Path == "" {
		cfg.Path = "/oauth/"
	}
	if why := badPath(cfg.Path); why != "" {
		return refuse("Path", why)
	}
	cfg.Origins = cfg.Origins.clone()
	if field, why := cfg.Origins.check(); why != "" {
		return refuse("Origins."+field, why)
	}
	a := &App{cfg: cfg, log: cfg.Logger, iss: iss, issuer: u, mux: http.NewServeMux()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.base = u.Scheme + "://" + u.Host + strings.TrimSuffix(cfg.Path, "/")
	type methods = map[string]http.HandlerFunc
	a.route("token", cfg.Origins.Token, methods{http.MethodPost: a.token})
	a.route("revoke", cfg.Origins.Revocation, methods{http.MethodPost: a.revocation})
	if cfg.Resource != nil {
		a.route("introspect", nil, methods{http.MethodPost: a.introspection})
	}
	a.route("logout", cfg.Origins.Account, methods{http.MethodPost: a.logout})
	a.route("logout-all", cfg.Origins.Account, methods{http.MethodPost: a.logoutAll})
	a.route("sessions", cfg.Origins.Account, methods{http.MethodGet: a.sessions, http.MethodHead: a.sessions})
	a.route("sessions/{id}", cfg.Origins.Account, methods{http.MethodDelete: a.logoutOne})
	if field, why := a.publishMetadata(); why != "" {
		return refuse(field, why)
	}
	return a, nil
}

// soleIssuer returns the one issuer of v, also as a URL, or why it cannot be had.
func soleIssuer(v *token.Verifier) (iss string, u *url.URL, why string) {
	issuers := slices.Collect(maps.Keys(v.IssuedAhead()))
	if len(issuers) != 1 {
		return "", nil, "accepts the tokens of several issuers: whose sessions these are must be plain"
	}
	iss = issuers[0]
	u, err := url.Parse(iss)
	switch {
	case err != nil || u.Host == "" || u.User != nil || iss != u.Scheme+"://"+u.Host+u.Path || strings.HasSuffix(u.Path, "/") || strings.ContainsAny(u.Path, "{} "):
		return "", nil, "is of an issuer that is no URL without query, fragment and slash at its end (RFC 8414 section 2)"
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())):
		return "", nil, "is of an issuer that is no https URL: tokens would pass in the clear"
	}
	return iss, u, ""
}

func isAbsolute(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

func badPath(p string) string {
	u, err := url.Parse(p)
	if err != nil || u.Path != p || !strings.HasPrefix(p, "/") || !strings.HasSuffix(p, "/") || strings.Contains(p, "//") || strings.ContainsAny(p, "{} ?#%") {
		return "is no path that begins and ends with a slash"
	}
	return ""
}

// Handler returns the handler of all endpoints, under their full paths. Mount it at
// [AppConfig].Path and where clients look for the metadata:
//
//	mux.Handle("/oauth/", app.Handler())
//	mux.Handle("/.well-known/", app.Handler())
//
// Of an issuer with a path, "https://example.com/auth", the metadata is served under
// /.well-known/oauth-authorization-server/auth (RFC 8414 section 3) and
// /auth/.well-known/openid-configuration (OpenID Connect Discovery 1.0 section 4), and under
// the two others that one makes of these names, for clients that ask there.
func (a *App) Handler() http.Handler { return a.mux }

// route adds an endpoint under Path.
func (a *App) route(name string, origins []string, methods map[string]http.HandlerFunc) {
	a.mux.Handle(a.cfg.Path+name, newEndpoint(origins, methods))
}

// String names the issuer.
func (a *App) String() string { return "web.App of issuer " + a.iss }

// unavailable tells the log, at most once a second, of what could not be answered.
func (a *App) unavailable(ctx context.Context, what string, err error) {
	if heldBack, ok := a.warned.allow(time.Now()); ok {
		a.log.WarnContext(ctx, "web: "+what, "error", err, "unreported", heldBack)
	}
}
