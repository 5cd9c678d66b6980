package web_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const (
	issuerName = "https://auth.example.com"
	host       = "shop.example"
	origin     = "https://" + host
)

// A shop is an application with sessions for browsers: a login form, private pages, and
// the handler.
type shop struct {
	http.Handler
	*web.Browser
	sessions *refresh.Manager
	store    *brake
	list     *revoke.List
	verifier *token.Verifier
	ring     *issue.Keyring
	logged   lockedBuffer

	login  func(*refresh.Login) // changes what a login asks for
	page   http.HandlerFunc     // of /page
	claims map[string]any       // what the application answers at a refresh

	mu       sync.Mutex
	failing  error // of the next publishing
	began    []error
	replayed int
	visits   int
}

// A brake is a store that a test can hold up or break.
type brake struct {
	refresh.Store
	mu    sync.Mutex
	hold  chan struct{} // nil: open
	fail  error
	saves int
}

func (g *brake) set(hold chan struct{}, fail error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold, g.fail = hold, fail
}

func (g *brake) Load(ctx context.Context, key string) (refresh.Record, error) {
	g.mu.Lock()
	hold, err := g.hold, g.fail
	g.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return refresh.Record{}, ctx.Err()
		}
	}
	if err != nil {
		return refresh.Record{}, err
	}
	return g.Store.Load(ctx, key)
}

func (g *brake) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	g.mu.Lock()
	err := g.fail
	g.saves++
	g.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return g.Store.Save(ctx, key, value, revision, expires)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (s *shop) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return revoke.Receipt{ID: e.ID, Event: e}, s.failing
}

func (s *shop) failPublishing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = err
}

var csrfSecret = []byte("0123456789abcdef0123456789abcdef")

// newShop returns a shop; change may be of a *web.BrowserConfig or of a *refresh.Config.
func newShop(t testing.TB, change ...any) *shop {
	t.Helper()
	s := &shop{}
	var err error
	if s.ring, err = issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ring.Close() })
	issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: s.ring})
	if err != nil {
		t.Fatal(err)
	}
	if s.list, err = revoke.NewList(revoke.Config{Local: true}); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(&s.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer: issuerName, Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: s.ring, Revocations: s.list, Logger: logger,
	}); err != nil {
		t.Fatal(err)
	}
	s.store = &brake{Store: refresh.NewMemoryStore()}
	sessions := refresh.Config{
		Issuer: issuer, Store: s.store, Revocations: s.list, Publisher: s, Lifetimes: refresh.Web, Logger: logger,
		Ask: func(context.Context, refresh.Session) (refresh.Answer, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			return refresh.Answer{Claims: s.claims}, nil
		},
		OnReplay: func(context.Context, refresh.Session) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.replayed++
		},
	}
	cfg := web.BrowserConfig{Client: "shop", CSRFKey: csrfSecret, Logger: logger}
	for _, c := range change {
		switch c := c.(type) {
		case func(*refresh.Config):
			c(&sessions)
		case func(*web.BrowserConfig):
			c(&cfg)
		default:
			t.Fatalf("change of type %T", c)
		}
	}
	if s.sessions, err = refresh.NewManager(sessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.sessions.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Sessions, cfg.Verifier = s.sessions, s.verifier
	if s.Browser, err = web.NewBrowser(cfg); err != nil {
		t.Fatal(err)
	}
	path := cfg.Path
	if path == "" {
		path = "/session/"
	}
	mux := http.NewServeMux()
	mux.Handle(path, s.Browser.Handler())
	mux.Handle("/login", s.GuardLogin(http.HandlerFunc(s.serveLogin)))
	mux.Handle("/page", s.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.visits++
		page := s.page
		s.mu.Unlock()
		if page != nil {
			page(w, r)
			return
		}
		claims, ok := token.FromContext(r.Context())
		if !ok {
			t.Error("a page without claims")
			return
		}
		io.WriteString(w, "hello "+claims.Subject())
	})))
	s.Handler = mux
	return s
}

func (s *shop) serveLogin(w http.ResponseWriter, r *http.Request) {
	l := refresh.Login{Subject: "user-1", Audience: []string{"shop"}, AuthTime: time.Now(), Scope: []string{"read"}, Device: refresh.Device{Label: "Firefox on Linux"}}
	if s.login != nil {
		s.login(&l)
	}
	_, err := s.Login(w, r, l)
	s.mu.Lock()
	s.began = append(s.began, err)
	s.mu.Unlock()
	if err != nil {
		web.Error(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// An agent is a browser as far as cookies go: it keeps and sends them by the rules of their
// prefixes, paths, sizes and times, and drops what breaks one.
type agent struct {
	t    testing.TB
	h    http.Handler
	jar  []*kept
	sent http.Header // with the last request
}

type kept struct {
	*http.Cookie
	expires time.Time // zero: with the browser
}

func (s *shop) agent(t testing.TB) *agent { return &agent{t: t, h: s} }

// loggedIn returns an agent with a session.
func (s *shop) loggedIn(t testing.TB) *agent {
	t.Helper()
	a := s.agent(t)
	if r := a.post("/login"); r.StatusCode != http.StatusNoContent {
		t.Fatalf("login: %d %s", r.StatusCode, body(r))
	}
	return a
}

type change = func(*http.Request)

// do sends a request as a script of the shop's pages does.
func (a *agent) do(method, target string, changes ...change) *http.Response {
	r := a.request(method, target, changes...)
	a.sent = r.Header
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	a.take(r, w.Result())
	return w.Result()
}

func (a *agent) request(method, target string, changes ...change) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.TLS = host, &tls.ConnectionState{}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Dest", "empty")
	var pairs []string
	for _, c := range a.jar {
		if strings.HasPrefix(r.URL.Path, c.Path) && !c.over() {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	if len(pairs) > 0 {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	for _, c := range changes {
		c(r)
	}
	return r
}

func (c *kept) over() bool { return !c.expires.IsZero() && !time.Now().Before(c.expires) }

func (a *agent) get(target string, changes ...change) *http.Response {
	return a.do("GET", target, changes...)
}

func (a *agent) post(target string, changes ...change) *http.Response {
	return a.do("POST", target, changes...)
}

// take keeps the cookies of an answer.
func (a *agent) take(r *http.Request, answer *http.Response) {
	for _, line := range answer.Header["Set-Cookie"] {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			a.t.Errorf("a Set-Cookie that cannot be read: %v", err)
			continue
		}
		if why := refusedByBrowser(c, r); why != "" {
			a.t.Errorf("a browser drops the cookie %s: %s", c.Name, why)
			continue
		}
		if c.Path == "" {
			c.Path = "/"
		}
		k := &kept{Cookie: c, expires: c.Expires}
		switch {
		case c.MaxAge < 0:
			k.expires = time.Now()
		case c.MaxAge > 0:
			k.expires = time.Now().Add(time.Duration(c.MaxAge) * time.Second)
		}
		left := a.jar[:0]
		for _, old := range a.jar {
			if old.Name != c.Name || old.Path != c.Path || old.Partitioned != c.Partitioned {
				left = append(left, old)
			}
		}
		a.jar = left
		if !k.over() {
			a.jar = append(a.jar, k)
		}
	}
}

// refusedByBrowser says why a browser drops a cookie of a page on https (RFC 6265bis sections
// 5.4 to 5.7, and the prefixes of the layered cookies draft).
func refusedByBrowser(c *http.Cookie, r *http.Request) string {
	name := strings.ToLower(c.Name)
	hostOnly := strings.HasPrefix(name, "__host-")
	switch {
	case len(c.Name)+len(c.Value) > 4096:
		return "too large"
	case (hostOnly || strings.HasPrefix(name, "__secure-") || strings.HasPrefix(name, "__http-")) && !c.Secure:
		return "not Secure"
	case hostOnly && (c.Path != "/" || c.Domain != ""):
		return "not host-only"
	case (strings.HasPrefix(name, "__host-http-") || strings.HasPrefix(name, "__http-")) && !c.HttpOnly:
		return "not HttpOnly"
	case c.Domain != "" && !strings.HasSuffix("."+r.Host, "."+strings.TrimPrefix(c.Domain, ".")):
		return "for another host"
	case c.SameSite == http.SameSiteNoneMode && !c.Secure, c.Partitioned && !c.Secure:
		return "not Secure"
	}
	return ""
}

// cookie returns the one whose name ends so, or nil.
func (a *agent) cookie(suffix string) *kept {
	for _, c := range a.jar {
		if strings.HasSuffix(c.Name, suffix) && !c.over() {
			return c
		}
	}
	return nil
}

func (a *agent) clone() *agent {
	return &agent{t: a.t, h: a.h, jar: append([]*kept(nil), a.jar...)}
}

func body(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(b))
	return string(b)
}

func with(name, value string) change {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func without(names ...string) change {
	return func(r *http.Request) {
		for _, name := range names {
			r.Header.Del(name)
		}
	}
}

// silent is a browser that says nothing of where a request comes from.
var silent = without("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Origin")

func navigating(r *http.Request) {
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
}

func form(pairs string) change {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(pairs)), int64(len(pairs))
	}
}

func all(changes ...change) change {
	return func(r *http.Request) {
		for _, c := range changes {
			c(r)
		}
	}
}

// status fails the test unless the answer has that status, and is not to be kept.
func status(t testing.TB, what string, r *http.Response, want int) {
	t.Helper()
	if r.StatusCode != want {
		t.Errorf("%s: %d %q, want %d", what, r.StatusCode, body(r), want)
	}
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control %q", what, got)
	}
}
