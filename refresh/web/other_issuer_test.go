package web_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A partner's issuer, whose tokens the application's Verifier accepts, too, names whom and which
// session it likes: it begins no session of this application's browsers, and ends none.
func TestAccessTokenOfAnotherIssuer(t *testing.T) {
	s, partner := newShop(t), newShop(t)
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := token.NewVerifier(token.VerifierConfig{Issuer: "https://partner.example", Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: partner.ring, Revocations: list})
	if err != nil {
		t.Fatal(err)
	}
	both, err := token.OneOf(s.verifier, theirs)
	if err != nil {
		t.Fatal(err)
	}
	b, err := web.NewBrowser(web.BrowserConfig{Sessions: s.sessions, Verifier: both, Client: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	pages := b.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	mux := http.NewServeMux()
	mux.Handle("/session/", b.Handler())
	mux.Handle("/page", pages)

	own := s.loggedIn(t)
	own.h = mux
	status(t, "own", own.get("/page"), 200)
	sessions, err := s.sessions.Sessions(t.Context(), "user-1")
	if err != nil || len(sessions) != 1 {
		t.Fatal(sessions, err)
	}
	forged := with("Cookie", "__Host-Http-session="+partner.token(t, "https://partner.example", sessions[0].ID))
	stranger := &agent{t: t, h: mux}
	status(t, "page", stranger.get("/page", forged), 401)
	status(t, "sessions", stranger.get("/session/sessions", forged), 401)
	status(t, "logout everywhere", stranger.post("/session/logout-everywhere", forged), 401)
	stranger.post("/session/logout", forged)
	status(t, "own, afterwards", own.get("/page"), 200)
	status(t, "own refresh token", own.post("/session/refresh"), 200)
}

// token returns an access token with the keys of s, of that issuer and session.
func (s *shop) token(t *testing.T, iss, sid string) string {
	t.Helper()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: iss, Keys: s.ring})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := issuer.Issue(t.Context(), issue.Request{Subject: "user-1", Client: "shop", Session: sid, Audience: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Raw()
}
