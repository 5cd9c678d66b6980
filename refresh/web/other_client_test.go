package web_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// The access token of another client of the same issuer, an app that the user has let read his
// orders, is no session of a browser, though it is for the same audience.
func TestAccessTokenOfAnotherClient(t *testing.T) {
	s := newShop(t)
	app, err := s.sessions.Login(t.Context(), refresh.Login{Subject: "user-1", Client: "app", Audience: []string{"shop"}, AuthTime: time.Now(), Scope: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	a := s.agent(t)
	cookie := with("Cookie", "__Host-Http-session="+app.AccessToken())
	status(t, "page", a.get("/page", cookie), 401)
	status(t, "access", a.get("/session/access", cookie), 401)
	status(t, "sessions", a.get("/session/sessions", cookie), 401)
	status(t, "logout everywhere", a.post("/session/logout-everywhere", cookie), 401)
	if s.visits != 0 {
		t.Error("the page was shown")
	}
	// The browser's own goes on, and refreshes where the cookie holds the app's token.
	own := s.loggedIn(t)
	status(t, "own", own.get("/page"), 200)
	status(t, "own refresh token", own.get("/page", with("Cookie", "__Host-Http-session="+app.AccessToken()+"; __Host-Http-session-refresh="+own.cookie("-refresh").Value)), 200)
}
