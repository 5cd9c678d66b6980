package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// done checks that w says that it is done.
func done(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status || w.Body.Len() != 0 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q %v, want %d", w.Code, w.Body, w.Header(), status)
	}
}

// alive says whether a session's tokens are good: the refresh token here, the access token at
// every service.
func (s *appSystem) alive(t *testing.T, g *refresh.Grant) bool {
	t.Helper()
	_, err := s.verifier.Verify(t.Context(), g.AccessToken())
	w := s.do(post("token", refreshing(g.RefreshToken())))
	if (err == nil) != (w.Code == http.StatusOK) {
		t.Errorf("the access token: %v, the refresh token: %d", err, w.Code)
	}
	return err == nil
}

func byRefreshToken(raw string, more ...string) url.Values {
	f := url.Values{"refresh_token": {raw}, "client_id": {"phone"}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

// A logout ends the one session, by either token.
func TestAppLogout(t *testing.T) {
	s := newAppSystem(t)
	byAccess, byRefresh, other := s.login(t), s.login(t), s.login(t)
	done(t, s.do(post("logout", nil, bearing(byAccess.AccessToken()))), 204)
	done(t, s.do(post("logout", byRefreshToken(byRefresh.RefreshToken()))), 204)
	if s.alive(t, byAccess) || s.alive(t, byRefresh) {
		t.Error("a session goes on after its logout")
	}
	if !s.alive(t, other) {
		t.Error("another session was ended")
	}
	// Again: the access token is over, and that is what to know; the refresh token too.
	refused(t, s.do(post("logout", nil, bearing(byAccess.AccessToken()))), 401, "invalid_token")
	done(t, s.do(post("logout", byRefreshToken(byRefresh.RefreshToken()))), 204)
	done(t, s.do(post("logout", byRefreshToken("htr1_unknown"))), 204)
}

func TestAppLogoutRefused(t *testing.T) {
	s := newAppSystem(t)
	g := s.login(t)
	foreign := s.login(t, func(l *refresh.Login) { l.Audience = []string{"orders"} })
	noSession := s.issued(t, issue.Request{Subject: "user-1", Client: "phone", Audience: []string{"auth"}})
	for name, x := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"another client":           {post("logout", byRefreshToken(g.RefreshToken(), "client_id", "shop", "client_secret", shopSecret)), 400, "invalid_grant"},
		"no client":                {post("logout", url.Values{"refresh_token": {g.RefreshToken()}}), 400, "invalid_client"},
		"no token":                 {post("logout", url.Values{"client_id": {"phone"}}), 400, "invalid_request"},
		"in the query":             {post("logout?refresh_token=x", url.Values{"client_id": {"phone"}}), 400, "invalid_request"},
		"an access token in query": {post("logout?access_token=x", nil, bearing(g.AccessToken())), 400, "invalid_request"},
		"another service's token":  {post("logout", nil, bearing(foreign.AccessToken())), 401, "invalid_token"},
		"a token of no session":    {post("logout", nil, bearing(noSession)), 403, "insufficient_scope"},
		"and everywhere":           {post("logout-all", nil, bearing(noSession)), 403, "insufficient_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s.do(x.r), x.status, x.code)
		})
	}
	if !s.alive(t, g) {
		t.Error("a session was ended")
	}
	for _, endpoint := range []string{"logout", "logout-all"} {
		if w := s.do(httptest.NewRequest("GET", appURL+endpoint, nil)); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
			t.Errorf("GET %s: %d", endpoint, w.Code)
		}
		if w := s.do(httptest.NewRequest("POST", appURL+"logout-all", nil)); w.Code != http.StatusUnauthorized {
			t.Errorf("without a token: %d", w.Code)
		}
	}
	done(t, s.do(post("logout", byRefreshToken(g.RefreshToken()))), 204)
}

// A logout that the services could not be told of is 409, and done once it is asked for
// again; one that the store could not take is not 204 either.
func TestAppLogoutPending(t *testing.T) {
	s := newAppSystem(t)
	for name, ask := range map[string]func(g *refresh.Grant) *http.Request{
		"by access token":  func(g *refresh.Grant) *http.Request { return post("logout", nil, bearing(g.AccessToken())) },
		"by refresh token": func(g *refresh.Grant) *http.Request { return post("logout", byRefreshToken(g.RefreshToken())) },
		"everywhere":       func(g *refresh.Grant) *http.Request { return post("logout-all", nil, bearing(g.AccessToken())) },
		"of one": func(g *refresh.Grant) *http.Request {
			r := post("sessions/"+g.SessionID, nil, bearing(g.AccessToken()))
			r.Method = http.MethodDelete
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := s.login(t, ofUser(name))
			s.cutOff(errors.New("down"))
			refused(t, s.do(ask(g)), 409, "revocation_pending")
			s.cutOff(nil)
			if name == "of one" { // it is no live session any more
				refused(t, s.do(ask(g)), 404, "not_found")
				return
			}
			done(t, s.do(ask(g)), 204)
			if s.alive(t, g) {
				t.Error("goes on")
			}
		})
	}
	g := s.login(t, ofUser("another"))
	s.store.failing(errors.New("down"))
	if w := s.do(post("logout", byRefreshToken(g.RefreshToken()))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("by refresh token: %d", w.Code)
	}
	// The services know it, the store does not.
	refused(t, s.do(post("logout", nil, bearing(g.AccessToken()))), 409, "revocation_pending")
}

// A logout everywhere ends all of a user's sessions, and nobody else's.
func TestAppLogoutAll(t *testing.T) {
	s := newAppSystem(t)
	one, two := s.login(t), s.login(t, byClient("shop"))
	other := s.login(t, ofUser("user-2"))
	done(t, s.do(post("logout-all", nil, bearing(one.AccessToken()))), 204)
	if s.alive(t, one) || s.alive(t, two) {
		t.Error("a session goes on")
	}
	if !s.alive(t, other) {
		t.Error("another user's was ended")
	}
}

// A token that is bound to a key needs a proof here too.
func TestAppLogoutBoundToKey(t *testing.T) {
	s := newAppSystem(t)
	c := tokentest.NewClient(t)
	g := s.login(t, boundTo(thumbprint(c)))
	refused(t, s.do(post("logout", nil, bearing(g.AccessToken()))), 401, "invalid_token")
	r := post("logout", nil, header("Authorization", "DPoP "+g.AccessToken()), header("DPoP", c.Proof("POST", appURL+"logout", g.AccessToken())))
	done(t, s.do(r), 204)
}

// The list shows the user's own sessions, and which of them asks.
func TestAppSessions(t *testing.T) {
	s := newAppSystem(t)
	first := s.login(t, func(l *refresh.Login) {
		l.Device, l.ACR, l.AMR = refresh.Device{Label: "phone/1", Address: "192.0.2.1"}, "high", []string{"pwd"}
	})
	second := s.login(t, byClient("shop"))
	s.login(t, ofUser("user-2"))
	ask := func(method, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, appURL+path, nil)
		bearing(first.AccessToken())(r)
		return s.do(r)
	}
	w := ask("GET", "sessions")
	list, _ := members(t, w)["sessions"].([]any)
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" || len(list) != 2 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	byID := map[any]map[string]any{}
	for _, e := range list {
		m := e.(map[string]any)
		byID[m["id"]] = m
	}
	m := byID[first.SessionID]
	for name, want := range map[string]any{"current": true, "client_id": "phone", "device": "phone/1", "address": "192.0.2.1", "scope": "read write", "acr": "high"} {
		if m[name] != want {
			t.Errorf("%s is %v", name, m[name])
		}
	}
	if byID[second.SessionID]["current"] != false {
		t.Error("the other one asks")
	}
	if w := ask("HEAD", "sessions"); w.Code != http.StatusOK {
		t.Errorf("HEAD: %d", w.Code)
	}
	if w := ask("POST", "sessions"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	s.store.failing(errors.New("down"))
	refused(t, ask("GET", "sessions"), 503, "temporarily_unavailable")
}

// One of the user's own sessions can be ended, and no other's.
func TestAppLogoutOne(t *testing.T) {
	s := newAppSystem(t)
	here, there := s.login(t), s.login(t)
	others := s.login(t, ofUser("user-2"))
	end := func(method, id string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, appURL+"sessions/"+id, nil)
		bearing(here.AccessToken())(r)
		return s.do(r)
	}
	refused(t, end("DELETE", others.SessionID), 404, "not_found")
	refused(t, end("DELETE", "none"), 404, "not_found")
	for _, method := range []string{"GET", "POST"} {
		if w := end(method, there.SessionID); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "DELETE" {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	if !s.alive(t, others) {
		t.Error("another user's was ended")
	}
	done(t, end("DELETE", there.SessionID), 204)
	if s.alive(t, there) {
		t.Error("goes on")
	}
	if !s.alive(t, here) {
		t.Error("the one that asked was ended")
	}
	refused(t, end("DELETE", there.SessionID), 404, "not_found")
	done(t, end("DELETE", here.SessionID), 204)
}

// issued returns a token that no session has.
func (s *appSystem) issued(t *testing.T, r issue.Request) string {
	t.Helper()
	x, err := s.issuer.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return x.Raw()
}
