package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An auth is the auth service: logins, sessions in cookies, signing keys, revocations.
type auth struct {
	url      string // its address, and its name as an issuer
	users    *users
	member   *bus.Member
	ring     *issue.Keyring
	tokens   *issue.Issuer
	sessions *refresh.Manager
	browser  *web.Browser
	close    closers
}

// grace is how long a refresh token may be used again, by a client that lost the answer. refresh.Web
// has 10 s; a shorter one shows sooner that a token was stolen.
const grace = time.Second

func startAuth(ctx context.Context, natsURL, dir string) (_ *auth, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &auth{url: "http://" + l.Addr().String(), users: newUsers()}
	defer func() {
		if err != nil {
			l.Close()
			a.close.all()
		}
	}()

	// The denylist, its feed, and the right to publish for this issuer. What cannot be published
	// rests in the outbox until it can.
	list, err := revoke.NewList(freshness)
	if err != nil {
		return nil, err
	}
	a.member, err = bus.Join(ctx, bus.Config{
		Servers: natsURL, List: list, Issuers: []string{a.url}, Name: "auth", OutboxFile: filepath.Join(dir, "outbox"), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.close.add(a.member.Close)
	if err := a.member.WaitFresh(ctx); err != nil {
		return nil, err
	}

	// Signing keys. One is announced at all times, and takes over by itself when the one that
	// signs is revoked.
	store, secret := refresh.NewMemoryStore(), make([]byte, 64)
	rand.Read(secret)
	seal, err := issue.NewSealKey("1", secret[:32])
	if err != nil {
		return nil, err
	}
	a.ring, err = issue.OpenKeyring(ctx, store, issue.KeyringConfig{
		Issuer: a.url, SealKeys: []*issue.SealKey{seal}, Revocations: list, MaxAge: 5 * time.Second, TokenLifetime: retention.TokenLifetime, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.close.add(a.ring.Close)
	a.tokens, err = issue.NewIssuer(issue.Config{Issuer: a.url, Keys: a.ring, TokenLifetime: retention.TokenLifetime, MaxSkew: retention.MaxSkew})
	if err != nil {
		return nil, err
	}

	// Sessions, and their cookies.
	lifetimes := refresh.Web
	lifetimes.Grace = grace
	a.sessions, err = refresh.NewManager(refresh.Config{
		Issuer: a.tokens, Store: store, Publisher: a.member, Revocations: list, Lifetimes: lifetimes, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.close.add(a.sessions.Close)
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: a.url, OwnIssuer: true, Audiences: []string{"auth"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: a.ring, Revocations: list, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	a.browser, err = web.NewBrowser(web.BrowserConfig{Sessions: a.sessions, Verifier: verifier, Client: "demo", CSRFKey: secret[32:], Logger: log})
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("/session/", a.browser.Handler())
	mux.Handle("POST /login", a.browser.GuardLogin(http.HandlerFunc(a.login)))
	mux.Handle("POST /password", a.browser.Middleware(http.HandlerFunc(a.password)))
	mux.Handle("GET /.well-known/jwks.json", a.ring)
	a.close.add(serve(l, http.MaxBytesHandler(mux, 64<<10)))
	return a, nil
}

// audience are the services that a session's access tokens are for.
func audience() []string { return append([]string{"auth"}, serviceNames...) }

func (a *auth) login(w http.ResponseWriter, r *http.Request) {
	began, name, password := time.Now(), r.PostFormValue("name"), r.PostFormValue("password")
	check := func(context.Context) error { return a.users.check(name, password) }
	err := check(r.Context())
	if err == nil {
		_, err = a.browser.Login(w, r, refresh.Login{
			Subject: name, Audience: audience(), AuthTime: began, Recheck: check, Device: refresh.Device{Label: r.PostFormValue("device")},
		})
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, errPassword), errors.Is(err, refresh.ErrSuperseded):
		http.Error(w, "no", http.StatusUnprocessableEntity)
	default:
		web.Error(w, r, err)
	}
}

// password changes the password first, then ends every session but the one that asks.
func (a *auth) password(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	if err := a.users.change(claims.Subject(), r.PostFormValue("current"), r.PostFormValue("new")); err != nil {
		http.Error(w, "no", http.StatusUnprocessableEntity)
	} else if _, err := a.browser.LogoutOthers(w, r, refresh.Because("password change")); err != nil {
		web.Error(w, r, err)
	} else {
		w.WriteHeader(http.StatusNoContent)
	}
}

// ban is what an administrator does: the user fails every check from now on, and all sessions end.
func (a *auth) ban(ctx context.Context, user string) error {
	a.users.ban(user, true)
	_, err := a.sessions.LogoutAll(ctx, user, refresh.Because("ban"), refresh.By("admin"))
	return err
}

// keyCompromised revokes every token that was signed by the key in use. The ring then signs with
// the one that it had announced.
func (a *auth) keyCompromised(ctx context.Context) error {
	_, err := a.member.Publish(ctx, a.ring.Active().Revocation())
	return err
}

// sessionOf reads the session of an access token that this service has issued. It is for the page:
// nothing is verified.
func sessionOf(raw string) (sid string) {
	var claims struct {
		Session string `json:"sid"`
	}
	_ = json.Unmarshal(claimsOf(raw), &claims)
	return claims.Session
}
