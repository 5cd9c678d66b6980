package web_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// No GET refreshes or ends anything: 405, whatever it comes from, and the session lives.
func TestChangesByPostOnly(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	saves := s.store.saves
	for _, path := range []string{"refresh", "logout", "logout-everywhere", "logout-others", "sessions/end"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"} {
			for _, c := range []change{all(), navigating, silent, with("Sec-Fetch-Site", "cross-site")} {
				r := a.do(method, "/session/"+path, c)
				status(t, method+" "+path, r, http.StatusMethodNotAllowed)
				if r.Header.Get("Allow") != "POST" || len(r.Header["Set-Cookie"]) != 0 || r.Header.Get("Clear-Site-Data") != "" {
					t.Errorf("%s %s: Allow %q", method, path, r.Header.Get("Allow"))
				}
			}
		}
	}
	if s.store.saves != saves {
		t.Error("something was written")
	}
	status(t, "what is not there", a.get("/session/nothing"), 404)
	status(t, "what another layout has", a.get("/session/return?return_to=/page"), 404)
	status(t, "the session", a.get("/page"), 200)
	status(t, "and by POST", a.post("/session/refresh"), 200)
}

// A script is answered in JSON, without a token; a person's form by 303 to a path of the site.
func TestHandlerAnswers(t *testing.T) {
	s := newShop(t)
	a := s.loggedIn(t)
	r := a.post("/session/refresh")
	var times map[string]int
	status(t, "refresh", r, 200)
	if err := json.Unmarshal([]byte(body(r)), &times); err != nil || len(times) != 2 || times["expires_in"] < 890 || times["expires_in"] > 900 || times["session_expires_in"] < 86000 || times["session_expires_in"] > 86400 {
		t.Errorf("refresh answered %v, error %v", times, err)
	}
	for target, want := range map[string]string{
		"": "/", "return_to=%2Fpage%3Fa": "/page?a", "return_to=https://evil.example": "/", "return_to=%2F%2Fevil.example": "/", "return_to=/session/refresh": "/",
	} {
		r := a.post("/session/refresh", navigating, form(target))
		if status(t, target, r, 303); r.Header.Get("Location") != want {
			t.Errorf("%q: sent to %q, want %q", target, r.Header.Get("Location"), want)
		}
	}
	r = a.post("/session/logout", navigating, form("return_to=/bye"))
	if status(t, "logout", r, 303); r.Header.Get("Location") != "/bye" || r.Header.Get("Clear-Site-Data") != `"cache"` {
		t.Errorf("logout: %q, Clear-Site-Data %q", r.Header.Get("Location"), r.Header.Get("Clear-Site-Data"))
	}
	r = a.post("/session/refresh", navigating)
	if status(t, "without a session", r, 401); body(r) != "Log in again.\n" || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("a person reads %q", body(r))
	}
	status(t, "logging out twice", a.post("/session/logout"), 204)
}

type listed struct {
	CSRF     string `json:"csrf_token"`
	Sessions []struct {
		ID      string
		Current bool
		Client  string `json:"client_id"`
		Device  struct{ Label string }
	}
}

func (a *agent) sessions() (l listed) {
	a.t.Helper()
	r := a.get("/session/sessions")
	status(a.t, "sessions", r, 200)
	if err := json.Unmarshal([]byte(body(r)), &l); err != nil {
		a.t.Fatal(err)
	}
	return l
}

// A user sees his sessions and ends one; nobody else's, and none that is not there.
func TestUsersSessions(t *testing.T) {
	s := newShop(t)
	a, b := s.loggedIn(t), s.loggedIn(t)
	s.login = func(l *refresh.Login) { l.Subject = "user-2" }
	other := s.loggedIn(t)
	theirs := other.sessions().Sessions[0].ID
	l := a.sessions()
	if len(l.Sessions) != 2 || l.CSRF == "" {
		t.Fatalf("%d sessions", len(l.Sessions))
	}
	i := slices.IndexFunc(l.Sessions, func(s struct {
		ID      string
		Current bool
		Client  string `json:"client_id"`
		Device  struct{ Label string }
	}) bool {
		return s.Current
	})
	mine, second := l.Sessions[i], l.Sessions[1-i]
	if second.Current || mine.ID != sessionOf(t, s, a) || second.ID != sessionOf(t, s, b) || mine.Client != "shop" || mine.Device.Label != "Firefox on Linux" {
		t.Errorf("the list is %+v", l.Sessions)
	}
	for _, id := range []string{theirs, "nonsense", strings.Repeat("A", 22)} {
		status(t, "another's "+id, a.post("/session/sessions/end", form("id="+id)), 404)
	}
	for _, without := range []string{"", "id=", "session="} {
		r := a.post("/session/sessions/end", form(without))
		if status(t, "without an id", r, 400); !strings.Contains(body(r), "field id") {
			t.Errorf("a form %q is not told that the field id is missing", without)
		}
	}
	status(t, "the other user", other.get("/page"), 200)
	status(t, "ending one from another site", a.post("/session/sessions/end", form("id="+second.ID), with("Sec-Fetch-Site", "cross-site")), 403)
	status(t, "the second", b.get("/page"), 200)
	status(t, "ending one", a.post("/session/sessions/end", form("id="+second.ID)), 204)
	status(t, "the second", b.get("/page"), 401)
	r := a.post("/session/sessions/end", form("id="+mine.ID+"&return_to=/bye"), navigating)
	if status(t, "ending his own", r, 303); r.Header.Get("Location") != "/bye" || len(a.jar) != 0 {
		t.Errorf("sent to %q, %d cookies left", r.Header.Get("Location"), len(a.jar))
	}
}

// A logout everywhere ends all sessions of the user and nobody else's, also where the access
// token has run out.
func TestLogoutEverywhere(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, func(c *web.BrowserConfig) { c.Layout = layout })
			a, b := s.loggedIn(t), s.loggedIn(t)
			s.login = func(l *refresh.Login) { l.Subject = "user-2" }
			other := s.loggedIn(t)
			time.Sleep(16 * time.Minute)
			status(t, "without a session", s.agent(t).post("/session/logout-everywhere"), 401)
			status(t, "everywhere", a.post("/session/logout-everywhere"), 204)
			if len(a.jar) != 0 {
				t.Errorf("%d cookies left", len(a.jar))
			}
			status(t, "the other browser", b.post("/session/refresh"), 401)
			status(t, "another user", other.post("/session/refresh"), 200)
		})
	}
}

// A logout of the others ends them, and leaves this browser with new cookies.
func TestLogoutOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a, b := s.loggedIn(t), s.loggedIn(t)
		before := a.clone()
		status(t, "without a session", s.agent(t).post("/session/logout-others"), 401)
		status(t, "from another site", a.post("/session/logout-others", with("Sec-Fetch-Site", "cross-site")), 403)
		status(t, "the other browser", b.get("/page"), 200)
		r := a.post("/session/logout-others", navigating, form("return_to=/page"))
		if status(t, "others", r, 303); r.Header.Get("Location") != "/page" || len(a.jar) != 2 {
			t.Errorf("sent to %q, with %d cookies", r.Header.Get("Location"), len(a.jar))
		}
		if a.cookie("session-refresh").Value == before.cookie("session-refresh").Value {
			t.Error("the refresh token is still the same")
		}
		status(t, "this browser", a.get("/page"), 200)
		status(t, "and a refresh", a.post("/session/refresh"), 200)
		status(t, "the other browser", b.get("/page"), 401)
		status(t, "and its refresh", b.post("/session/refresh"), 401)
		s.failPublishing(errors.New("no bus"))
		status(t, "half done", a.post("/session/logout-others"), 409)
		if len(a.jar) != 2 {
			t.Errorf("half done: %d cookies left", len(a.jar))
		}
		s.failPublishing(nil)
		status(t, "again", a.post("/session/logout-others"), 204)
	})
}

// A logout that the services could not be told of is 409, has ended the session here and takes
// the cookies; one that could not be made leaves them.
func TestLogoutHalfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		for _, path := range []string{"logout", "logout-everywhere"} {
			a := s.loggedIn(t)
			stolen := a.clone()
			s.failPublishing(errors.New("no bus"))
			status(t, path, a.post("/session/"+path), http.StatusConflict)
			if len(a.jar) != 0 {
				t.Errorf("%s: %d cookies left", path, len(a.jar))
			}
			s.failPublishing(nil)
			status(t, path+", then a refresh", stolen.post("/session/refresh"), 401)
			time.Sleep(10 * time.Second) // a login right after a logout everywhere would need a Recheck
		}
		a := s.loggedIn(t)
		s.store.set(nil, errors.New("no store"))
		s.failPublishing(errors.New("no bus"))
		r := a.post("/session/logout")
		if status(t, "neither", r, 503); r.Header.Get("Retry-After") == "" || len(a.jar) != 2 {
			t.Errorf("%d cookies left", len(a.jar))
		}
		s.store.set(nil, nil)
		s.failPublishing(nil)
		status(t, "again", a.post("/session/logout"), 204)
	})
}

// The idle and the absolute limit of a session hold for its cookies, refreshed or not (OWASP
// ASVS 5.0, 7.3).
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t)
		a := s.loggedIn(t)
		kept := a.clone() // by a program that heeds no expiry
		for _, c := range kept.jar {
			c.expires = time.Time{}
		}
		time.Sleep(59 * time.Minute)
		status(t, "before the idle limit", kept.clone().post("/session/refresh"), 200)

		b := s.loggedIn(t)
		idle := b.clone()
		time.Sleep(61 * time.Minute)
		status(t, "after the idle limit", idle.post("/session/refresh"), 401)
		for _, c := range idle.jar {
			c.expires = time.Time{}
		}
		status(t, "after it, with cookies that were kept", idle.get("/page"), 401)

		c := s.loggedIn(t)
		for range 47 {
			time.Sleep(30 * time.Minute)
			status(t, "within the absolute limit", c.get("/page"), 200)
		}
		time.Sleep(31 * time.Minute)
		for _, k := range c.jar {
			k.expires = time.Time{}
		}
		status(t, "after the absolute limit", c.get("/page"), 401)
	})
}
