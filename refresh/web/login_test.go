package web_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/token"
)

// Each login is a new session; the one of the cookies that came along, no matter whose it was, is dead;
// and what a browser brings along names no session that begins (OWASP ASVS 5.0, 7.2.4).
func TestLoginIsANewSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		first, before := sessionOf(t, s, a), a.clone()
		s.login = func(l *refresh.Login) { l.Subject = "user-2" }
		status(t, "login", a.post("/login"), 204)
		second := sessionOf(t, s, a)
		if second == first {
			t.Error("the session is the one before")
		}
		status(t, "the one before", before.get("/page"), 401)
		status(t, "its refresh token", before.post("/session/refresh"), 401)
		status(t, "the new one", a.get("/page"), 200)

		time.Sleep(16 * time.Minute) // then the refresh token names it
		before = a.clone()
		status(t, "login", a.post("/login"), 204)
		status(t, "the one before", before.post("/session/refresh"), 401)

		// A thief who plants his own session's cookies gets nothing.
		thief, victim := s.loggedIn(t), s.agent(t)
		victim.jar = append(victim.jar, thief.jar...)
		status(t, "login with planted cookies", victim.post("/login"), 204)
		status(t, "the planted session", thief.get("/page"), 401)
		status(t, "the victim's", victim.get("/page"), 200)
		for _, planted := range []string{"nonsense", "htr1_" + strings.Repeat("A", 118), second} {
			victim.jar = []*kept{
				{Cookie: &http.Cookie{Name: "__Host-Http-session", Value: planted, Path: "/"}},
				{Cookie: &http.Cookie{Name: "__Host-Http-session-refresh", Value: planted, Path: "/"}},
			}
			status(t, "login with made-up cookies", victim.post("/login"), 204)
			if sid := sessionOf(t, s, victim); sid == planted || sid == second {
				t.Error("a planted id was taken over")
			}
		}
	})
}

// A request that another site could have sent begins no session, and neither does what the
// application asks for by mistake.
func TestLoginRefuses(t *testing.T) {
	for _, x := range []struct {
		name   string
		method string
		login  func(*refresh.Login)
		change change
		status int
		err    error
	}{
		{"a good one", "POST", nil, all(), 204, nil},
		{"by a form", "POST", nil, navigating, 204, nil},
		{"by an older browser", "POST", nil, all(silent, with("Origin", origin)), 204, nil},
		{"with the client spelt out", "POST", func(l *refresh.Login) { l.Client = "shop" }, all(), 204, nil},
		{"by GET", "GET", nil, all(), 403, web.ErrCrossSite},
		{"by HEAD", "HEAD", nil, all(), 403, web.ErrCrossSite},
		{"of another site", "POST", nil, with("Sec-Fetch-Site", "cross-site"), 403, nil},
		{"neither header", "POST", nil, silent, 403, nil},
		{"another client", "POST", func(l *refresh.Login) { l.Client = "app" }, all(), 500, refresh.ErrLogin},
		{"bound to a key", "POST", func(l *refresh.Login) { l.Binding.KeyThumbprint = strings.Repeat("A", 43) }, all(), 500, refresh.ErrLogin},
		{"no subject", "POST", func(l *refresh.Login) { l.Subject = "" }, all(), 500, refresh.ErrLogin},
		{"for another service", "POST", func(l *refresh.Login) { l.Audience = []string{"warehouse"} }, all(), 500, refresh.ErrLogin},
		{"authenticated in the future", "POST", func(l *refresh.Login) { l.AuthTime = time.Now().Add(time.Hour) }, all(), 500, refresh.ErrLogin},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newShop(t)
			s.login = x.login
			a := s.agent(t)
			status(t, x.name, a.do(x.method, "/login", x.change), x.status)
			switch {
			case x.status == 204:
				status(t, "a page", a.get("/page"), 200)
			case len(a.jar) != 0:
				t.Errorf("%d cookies set", len(a.jar))
			case x.err == nil && len(s.began) != 0:
				t.Error("the password was asked for")
			case x.err != nil && !errors.Is(s.began[0], x.err):
				t.Errorf("error %v, want %v", s.began[0], x.err)
			}
			list, err := s.sessions.Sessions(t.Context(), "user-1")
			if want := map[bool]int{true: 1}[x.status == 204]; err != nil || len(list) != want {
				t.Errorf("%d sessions, error %v", len(list), err)
			}
		})
	}
}

// The application says how long to wait, before a password is looked at.
func TestThrottleLogin(t *testing.T) {
	var wait time.Duration
	asked := 0
	s := newShop(t, func(c *web.BrowserConfig) {
		c.ThrottleLogin = func(r *http.Request) time.Duration {
			asked++
			if r.PostFormValue("user") != "ada" {
				t.Error("the form is not there")
			}
			return wait
		}
	})
	a := s.agent(t)
	status(t, "at first", a.post("/login", form("user=ada")), 204)
	wait = 1500 * time.Millisecond
	r := a.post("/login", form("user=ada"))
	if status(t, "then", r, http.StatusTooManyRequests); r.Header.Get("Retry-After") != "2" || len(s.began) != 1 {
		t.Errorf("Retry-After %q; a password was looked at %d times", r.Header.Get("Retry-After"), len(s.began))
	}
	status(t, "the form itself", a.get("/login"), 403) // by the handler, which lets nobody log in by GET
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	if _, err := s.Login(httptest.NewRecorder(), a.request("POST", "/login"), refresh.Login{}); err == nil || !strings.Contains(err.Error(), "GuardLogin") {
		t.Errorf("without GuardLogin: %v", err)
	}
}

// A session whose end cannot be made sure of is not replaced; one whose end is only not known
// everywhere yet is.
func TestLoginEndsTheSessionBefore(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	s.store.set(nil, errors.New("no store"))
	s.failPublishing(errors.New("no bus"))
	status(t, "no store and no bus", a.post("/login"), 503)
	s.store.set(nil, nil)
	s.failPublishing(nil)
	status(t, "the session before", a.get("/page"), 200)
	s.failPublishing(errors.New("no bus"))
	status(t, "no bus", a.post("/login"), 204)
	s.failPublishing(nil)
	status(t, "the new one", a.get("/page"), 200)
}

// A rise in privilege is a new session, and the old one is dead.
func TestReauthenticate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		var got error
		s.page = func(w http.ResponseWriter, r *http.Request) {
			_, got = s.Reauthenticate(w, r, refresh.Login{AuthTime: time.Now(), ACR: "gold", AMR: []string{"pwd", "otp"}, Scope: []string{"read", "admin"}})
			if got != nil {
				web.Error(w, r, got)
			}
		}
		first, before := sessionOf(t, s, a), a.clone()
		status(t, "by GET", a.get("/page"), 403)
		status(t, "of another site", a.post("/page", with("Sec-Fetch-Site", "same-site")), 403)
		time.Sleep(16 * time.Minute) // it is refreshed and replaced in one request
		r := a.post("/page")
		if status(t, "reauthenticate", r, 200); len(r.Header["Set-Cookie"]) != 2 {
			t.Errorf("%d cookies set", len(r.Header["Set-Cookie"]))
		}
		c, err := s.verifier.Verify(t.Context(), a.cookie("session").Value)
		if err != nil || c.SessionID() == first || c.ACR() != "gold" || !c.HasScope("admin") {
			t.Errorf("claims %v, acr %q, error %v", c, c.ACR(), err)
		}
		s.page = nil
		status(t, "the new session", a.get("/page"), 200)
		status(t, "the old one", before.get("/page"), 401)
		r2 := a.request("POST", "/page")
		if _, err := s.Reauthenticate(httptest.NewRecorder(), r2, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("outside of Middleware: %v", err)
		}
		claims, _ := s.verifier.Verify(t.Context(), a.cookie("session").Value)
		if _, err := s.Reauthenticate(httptest.NewRecorder(), r2.WithContext(token.NewContext(context.Background(), claims)), refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("with claims of another's making: %v", err)
		}
	})
}

// After a password change this browser goes on with new secrets, and all others are logged out.
func TestPasswordChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a, b, kept := s.loggedIn(t), s.loggedIn(t), s.loggedIn(t)
		mine, third := sessionOf(t, s, a), sessionOf(t, s, kept)
		stolen := a.clone()
		s.page = func(w http.ResponseWriter, r *http.Request) {
			g, err := s.LogoutOthers(w, r, refresh.Because("password change"), refresh.Keep(third))
			if err != nil {
				web.Error(w, r, err)
			} else if g.SessionID != mine {
				t.Error("the grant is not this browser's")
			}
		}
		status(t, "by GET", a.get("/page"), 403)
		status(t, "the other", b.get("/session/sessions"), 200)
		r := a.post("/page")
		if status(t, "change", r, 200); len(r.Header["Set-Cookie"]) != 2 {
			t.Errorf("%d cookies set", len(r.Header["Set-Cookie"]))
		}
		s.page = nil
		if sessionOf(t, s, a) != mine {
			t.Error("this browser has another session")
		}
		status(t, "this browser", a.get("/page"), 200)
		status(t, "and its new secrets", a.post("/session/refresh"), 200)
		status(t, "the other", b.get("/page"), 401)
		status(t, "its refresh token", b.post("/session/refresh"), 401)
		status(t, "the one that is kept", kept.post("/session/refresh"), 200)
		time.Sleep(time.Minute)
		if r := stolen.post("/session/refresh"); r.StatusCode != 401 && r.StatusCode != 503 {
			t.Errorf("the refresh token of before: %d", r.StatusCode)
		}

		s.page = func(w http.ResponseWriter, r *http.Request) {
			_, err := s.LogoutOthers(w, r)
			web.Error(w, r, err)
		}
		s.store.set(nil, errors.New("no store"))
		status(t, "not all is done", a.post("/page"), 503)
		s.store.set(nil, nil)
	})
}

// What a login fails for is what its answer says.
func TestErrorAnswers(t *testing.T) {
	for _, x := range []struct {
		err    error
		status int
	}{
		{web.ErrCrossSite, 403}, {refresh.ErrPossession, 403}, {token.ErrInsufficientScope, 403},
		{refresh.ErrSuperseded, 401}, {refresh.ErrReused, 401}, {token.ErrExpired, 401}, {errors.Join(refresh.ErrEnded, refresh.ErrPending), 401},
		{refresh.ErrPending, 409}, {errors.Join(refresh.ErrPending, refresh.ErrStore), 503},
		{refresh.ErrTryAgain, 503}, {token.ErrKeysUnavailable, 503}, {context.DeadlineExceeded, 503},
		{refresh.ErrLogin, 500}, {web.ErrTooLarge, 500}, {errors.New("secret"), 500},
	} {
		for _, c := range []change{all(), navigating} {
			r := httptest.NewRequest("POST", "/", nil)
			c(r)
			w := httptest.NewRecorder()
			web.Error(w, r, x.err)
			got := w.Result()
			status(t, x.err.Error(), got, x.status)
			if strings.Contains(body(got), "secret") || (got.Header.Get("Retry-After") != "") != (x.status == 503) || got.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v: %q, Retry-After %q", x.err, body(got), got.Header.Get("Retry-After"))
			}
		}
	}
}
