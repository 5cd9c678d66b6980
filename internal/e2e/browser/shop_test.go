package browser_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const (
	shopHost     = "app.example"
	siblingHost  = "sibling.app.example"
	attackerHost = "attacker.example"
	shopURL      = "https://" + shopHost

	accessCookie   = "__Host-Http-session"
	refreshCookie  = "__Host-Http-session-refresh" // in layout Passing
	separateCookie = "__Secure-session-refresh"    // in layout Separate
)

// A shop is an application over package web: a login form, a private page, something that can
// be changed. Beside it runs another service that accepts its access tokens, with a replica of
// the denylist of its own, over a bus.
type shop struct {
	*browser.Browser
	sessions *refresh.Manager
	bus      *bus.Member
	verifier *token.Verifier
	api      http.Handler  // of the other service
	slow     chan struct{} // closed by release
	release  func()
	mu       sync.Mutex
	claims   map[string]any // of every login
	password string
	colour   string // what can be changed
	changes  int
	sockets  int // handshakes that were let through
	logins   int
}

// newShop starts all of it, and a browser. change may alter the configuration of its sessions.
func newShop(t *testing.T, change func(*web.BrowserConfig, *refresh.Config), opts ...browser.Option) *shop {
	t.Helper()
	s := &shop{password: "open sesame", colour: "white"}
	s.slow = make(chan struct{})
	s.release = sync.OnceFunc(func() { close(s.slow) })
	ctx, cancel := context.WithTimeout(context.Background(), browser.Patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	server, err := embedded.Start(ctx, embedded.Config{})
	must(err)
	t.Cleanup(func() { _ = server.Close() })
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	must(err)
	t.Cleanup(func() { _ = ring.Close() })
	issuer, err := issue.NewIssuer(issue.Config{Issuer: shopURL, Keys: ring})
	must(err)
	replica := func(audience string, issuers ...string) (*bus.Member, *revoke.List, *token.Verifier) {
		t.Helper()
		list, err := revoke.NewList(revoke.Config{})
		must(err)
		member, err := bus.Join(ctx, bus.Config{InProcess: server, List: list, Issuers: issuers})
		must(err)
		t.Cleanup(func() { _ = member.Close() })
		must(member.WaitFresh(ctx))
		verifier, err := token.NewVerifier(token.VerifierConfig{
			Issuer: shopURL, OwnIssuer: true, Audiences: []string{audience}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring,
			Revocations: list, Leeway: time.Millisecond,
		})
		must(err)
		return member, list, verifier
	}
	member, list, verifier := replica("shop", shopURL)
	s.bus, s.verifier = member, verifier
	_, _, apiVerifier := replica("orders")
	s.api = apiVerifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))

	cfg := refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Publisher: member, Lifetimes: refresh.Web}
	webCfg := web.BrowserConfig{Client: "shop", LoginPath: "/login", CSRFKey: []byte("thirty-two bytes of a test's own")}
	if change != nil {
		change(&webCfg, &cfg)
	}
	s.sessions, err = refresh.NewManager(cfg)
	must(err)
	t.Cleanup(func() { _ = s.sessions.Close() })
	webCfg.Sessions, webCfg.Verifier = s.sessions, verifier
	sessions, err := web.NewBrowser(webCfg)
	must(err)

	private := func(h http.HandlerFunc) http.Handler { return sessions.Middleware(h) }
	mux := http.NewServeMux()
	mux.Handle("/session/", sessions.Handler())
	mux.Handle("/login", sessions.GuardLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.login(sessions, w, r) })))
	mux.Handle("/{$}", page(`welcome to the shop <a href="/private">private</a>`))
	mux.Handle("GET /private", private(s.private))
	mux.Handle("GET /api", private(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(w, "orders of %s", claims.Subject())
	}))
	mux.Handle("GET /prices", private(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		show(w, "prices for "+claims.Subject())
	}))
	mux.Handle("GET /stepped-up", sessions.Middleware(http.NotFoundHandler(), token.RequireACR("two-factors")))
	mux.Handle("GET /slow", private(func(w http.ResponseWriter, r *http.Request) {
		<-s.slow
		fmt.Fprint(w, "at last")
	}))
	mux.Handle("POST /change", private(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changes++
		s.colour = r.FormValue("colour")
		show(w, "it is "+html.EscapeString(s.colour)+" now")
	}))
	mux.Handle("POST /password", private(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.password = r.FormValue("new")
		s.mu.Unlock()
		if _, err := sessions.LogoutOthers(w, r); err != nil {
			web.Error(w, r, err)
			return
		}
		http.Redirect(w, r, "/private?changed", http.StatusSeeOther)
	}))
	mux.Handle("GET /socket", private(s.socket))
	elsewhere := host{"/plant": func(w http.ResponseWriter, r *http.Request) {
		for _, line := range r.URL.Query()["cookie"] {
			w.Header().Add("Set-Cookie", line)
		}
	}}
	s.Browser = browser.Start(t, map[string]http.Handler{shopHost: mux, siblingHost: elsewhere, attackerHost: elsewhere}, opts...)
	t.Cleanup(s.release)
	return s
}

func (s *shop) login(sessions *web.Browser, w http.ResponseWriter, r *http.Request) {
	back := html.EscapeString(web.ReturnPath(r.FormValue("return_to")))
	if r.Method != http.MethodPost {
		page(`<h1>Log in</h1><form method=post><input type=hidden name=return_to value="`+back+`"><label>Name <input name=name></label>
			<label>Password <input type=password name=password></label> <button>Log in</button></form>`).ServeHTTP(w, r)
		return
	}
	now := time.Now()
	s.mu.Lock()
	good := r.FormValue("password") == s.password
	s.logins++
	claims := s.claims
	s.mu.Unlock()
	if !good {
		http.Error(w, "wrong", http.StatusUnauthorized)
		return
	}
	_, err := sessions.Login(w, r, refresh.Login{
		Subject: r.FormValue("name"), Audience: []string{"shop", "orders"}, AuthTime: now, Claims: claims,
		Recheck: func(context.Context) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if r.FormValue("password") != s.password {
				return errors.New("the password has changed")
			}
			return nil
		},
	})
	if err != nil {
		web.Error(w, r, err)
		return
	}
	http.Redirect(w, r, web.ReturnPath(r.FormValue("return_to")), http.StatusSeeOther)
}

func (s *shop) private(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	s.mu.Lock()
	colour := s.colour
	s.mu.Unlock()
	show(w, fmt.Sprintf(`<h1>Private matters of %s</h1><p>it is %s</p><script src="/session/session.js"></script>
		<form method=post action=/change><label>Colour <input name=colour></label> <button id=change>Change</button></form>
		<form method=post action=/password><label>New password <input name=new></label> <button id=password>Change the password</button></form>
		<form method=post action=/session/logout><button id=logout>Log out</button></form>
		<a href="/">home</a>`, html.EscapeString(claims.Subject()), html.EscapeString(colour)))
}

// socket opens a WebSocket (RFC 6455 section 4.2.2) and closes it again.
func (s *shop) socket(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.sockets++
	s.mu.Unlock()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no WebSocket", http.StatusBadRequest)
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n\x88\x00",
		base64.StdEncoding.EncodeToString(sum[:]))
}

// state is what an attacker would change.
type state struct {
	Colour                   string
	Changes, Sockets, Logins int
	Done                     uint64 // refreshes
}

func (s *shop) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return state{s.colour, s.changes, s.sockets, s.logins, s.sessions.Status().Refresh.Done}
}

// rotations is how many refresh tokens have been rotated: what was answered again with the same
// successor does not count.
func (s *shop) rotations() uint64 {
	st := s.sessions.Status()
	return st.Refresh.Done - st.AnsweredAgain
}

// askOther asks the other service with a profile's access token and returns the status.
func (s *shop) askOther(raw string) int {
	r := httptest.NewRequest("GET", "https://orders.example/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, r)
	return w.Code
}

// spoil has a profile's access token be of no use any more, as if it had run out.
func (s *shop) spoil(t *testing.T, p *browser.Profile) {
	t.Helper()
	c, _ := p.Cookie(shopHost, accessCookie)
	claims, err := s.verifier.Verify(t.Context(), c.Value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.bus.Publish(t.Context(), revoke.Event{Kind: revoke.KindToken, Value: claims.ID(), Until: claims.ExpiresAt()}); err != nil {
		t.Fatal(err)
	}
	browser.Eventually(t, "the token is refused", func() bool { _, err := s.verifier.Verify(t.Context(), c.Value); return err != nil })
}

// logIn has somebody type name and password, and ends on the private page.
func (s *shop) logIn(tab *browser.Tab, name, password string) {
	tab.Go(shopURL + "/login?return_to=/private")
	tab.Fill("input[name=name]", name)
	tab.Fill("input[name=password]", password)
	tab.Click("button")
	tab.At(shopURL + "/private")
	tab.Shows("Private matters of " + name)
}
