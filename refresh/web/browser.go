package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// A BrowserConfig configures a Browser.
type BrowserConfig struct {
	// Sessions keeps the sessions. Required. Give it Lifetimes with a Grace, such as
	// [refresh.Web]: a page sends many requests at once, and an answer that the browser
	// does not read, because its user has clicked again, is a lost one, which without a Grace
	// costs the session. NewBrowser does not check this, and the zero Lifetimes have none.
	Sessions *refresh.Manager

	// Verifier accepts the access tokens that Sessions issues for this application. Required.
	Verifier *token.Verifier

	// Client is the client_id of the sessions. Required.
	Client string

	// Layout says which cookie goes where. Zero means [Passing].
	Layout Layout

	// Path is where [Browser.Handler] is mounted. It begins and ends with a slash and holds
	// letters, digits and "-._~/". Empty means "/session/".
	Path string

	// Name distinguishes the cookies of two applications on one host: letters, digits, "-" and
	// "_", at most 64. Empty means "session", and cookies named __Host-Http-session and
	// __Host-Http-session-refresh.
	Name string

	// LoginPath is the page that a navigation without a session is sent to, with the page it
	// was for in the parameter return_to; see [ReturnPath]. Empty: it is answered 401. A
	// navigation says so in Sec-Fetch-Mode or, without that header, accepts text/html; what a
	// script or curl requests is answered 401 in either case.
	LoginPath string

	// TrustedOrigins may send requests that change something, beside the application's own
	// origin: "https://www.example.com". Name this application's own here if a proxy gives it
	// another Host than the browser's. Nil: no other.
	TrustedOrigins []string

	// CSRFKey makes the tokens of [Browser.CSRFToken]: at least 32 random bytes, the same on
	// all instances. They serve browsers that say neither in Sec-Fetch-Site (since 2023
	// all do) nor in Origin where a request comes from. Nil: requests of such browsers that
	// would change something are refused.
	CSRFKey []byte

	// ThrottleLogin is asked by [Browser.GuardLogin] before each attempt to log in. It returns
	// how long the browser has to wait, zero if it may try now. It may be called concurrently.
	// Nil: every attempt passes, and passwords can be guessed as fast as they are checked.
	ThrottleLogin func(r *http.Request) time.Duration

	// DeviceBinding binds the sessions of browsers that can to a key of their device. The
	// Lifetimes.Access of Sessions must be five minutes or more. Nil: off; a session that was bound before
	// has to log in again when its access token has run out. The access token's cookie is named
	// __Host-session with it, and not __Host-Http-session, which Chromium 156 does not bind.
	DeviceBinding *DeviceBinding

	// Logger receives failures, at most one warning a second. Nil means silent.
	Logger *slog.Logger
}

// A Browser gives sessions to browsers. Its methods may be called concurrently. It has
// no background and needs no Close.
type Browser struct {
	cfg       BrowserConfig
	names     cookieNames
	origins   *http.CrossOriginProtection
	trusted   map[string]bool
	csrf      csrfKey
	plain     admit.Route // without options
	rotations rotations
	warned    limiter
	log       *slog.Logger
}

// NewBrowser returns a Browser. The error names the field of cfg that is missing or cannot be.
func NewBrowser(cfg BrowserConfig) (*Browser, error) {
	b, err := newBrowser(cfg)
	if err != nil {
		return nil, fmt.Errorf("web: BrowserConfig: %w", err)
	}
	return b, nil
}

func newBrowser(cfg BrowserConfig) (*Browser, error) {
	if cfg.Path == "" {
		cfg.Path = "/session/"
	}
	if cfg.Name == "" {
		cfg.Name = "session"
	}
	switch {
	case cfg.Sessions == nil:
		return nil, errors.New("field Sessions is nil")
	case cfg.Verifier == nil:
		return nil, errors.New("field Verifier is nil")
	case cfg.Client == "":
		return nil, errors.New("field Client is empty")
	case cfg.Layout != Passing && cfg.Layout != Separate:
		return nil, fmt.Errorf("field Layout is %s", cfg.Layout)
	case !isMountPath(cfg.Path):
		return nil, fmt.Errorf("field Path %q is not a path that begins and ends with a slash, of letters, digits and -._~", cfg.Path)
	case len(cfg.Name) > 64 || strings.ContainsFunc(cfg.Name, func(r rune) bool { return !isWord(r) }):
		return nil, fmt.Errorf("field Name %q is not of at most 64 letters, digits, - and _", cfg.Name)
	case cfg.LoginPath != "" && ReturnPath(cfg.LoginPath) != cfg.LoginPath:
		return nil, fmt.Errorf("field LoginPath %q is not a path of this site, such as /login", cfg.LoginPath)
	case strings.ContainsAny(cfg.LoginPath, "?#"):
		return nil, fmt.Errorf("field LoginPath %q has a query", cfg.LoginPath)
	case strings.HasPrefix(cfg.LoginPath, cfg.Path):
		return nil, fmt.Errorf("field LoginPath %q is one of the handler's own", cfg.LoginPath)
	}
	if err := checkDeviceBinding(&cfg); err != nil {
		return nil, err
	}
	b := &Browser{cfg: cfg, names: newCookieNames(cfg.Layout, cfg.Name, cfg.Path, cfg.DeviceBinding != nil), origins: http.NewCrossOriginProtection(), trusted: make(map[string]bool), log: cfg.Logger}
	b.cfg.TrustedOrigins = slices.Clone(cfg.TrustedOrigins)
	for _, origin := range cfg.TrustedOrigins {
		if err := b.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("field TrustedOrigins: %w", err)
		}
		b.trusted[origin] = true
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if b.csrf, err = newCSRFKey(cfg.CSRFKey); err != nil {
		return nil, err
	}
	b.cfg.CSRFKey = nil // nobody needs it any more
	b.plain, err = admit.NewRoute(cfg.Verifier, []token.VerifyOption(nil), b)
	return b, err
}

// isWord reports whether r may stand in a cookie's name.
func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// isMountPath reports whether p can be the path of a cookie, of a pattern and of a URL in a
// script, without escaping in any of them.
func isMountPath(p string) bool {
	if len(p) < 3 || len(p) > 256 || p[0] != '/' || p[len(p)-1] != '/' {
		return false
	}
	for s := range strings.SplitSeq(p[1:len(p)-1], "/") {
		if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) && r != '.' && r != '~' }) {
			return false
		}
	}
	return true
}

// String names the application's client_id.
func (b *Browser) String() string { return "web.Browser of client " + b.cfg.Client }

// Format implements [fmt.Formatter]: every verb prints String.
func (b *Browser) Format(f fmt.State, _ rune) { fmt.Fprint(f, b.String()) }

// LogValue implements [slog.LogValuer].
func (b *Browser) LogValue() slog.Value { return slog.StringValue(b.String()) }
