package web_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What ends a session ends it at the refresh URL: a logout that only deleted the cookie would be undone by
// the browser's next request.
func TestBoundLogout(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *shop, d *device){
		"logout":            func(t *testing.T, s *shop, d *device) { status(t, "logout", d.post("/session/logout"), 204) },
		"logout everywhere": func(t *testing.T, s *shop, d *device) { status(t, "logout", d.post("/session/logout-everywhere"), 204) },
		"at another place": func(t *testing.T, s *shop, d *device) {
			other := s.loggedIn(t)
			list, err := s.sessions.Sessions(t.Context(), "user-1")
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range list {
				if x.DeviceBound {
					status(t, "end", other.post("/session/sessions/end", form("id="+x.ID)), 204)
				}
			}
		},
		"another login": func(t *testing.T, s *shop, d *device) {
			status(t, "login", d.agent.post("/login"), 204)
			d.jar = nil // so that it refreshes
		},
		"idleness": func(t *testing.T, s *shop, d *device) { time.Sleep(time.Hour + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, binding())
				d := s.device(t)
				d.register(d.post("/login"))
				status(t, "page", d.visit(), 200)
				jar := d.agent.clone()
				end(t, s, d)
				time.Sleep(16 * time.Minute)
				status(t, "page", d.visit(), 401)
				if d.id != "" {
					t.Error("the browser's session goes on")
				}
				status(t, "the cookies of before", jar.get("/page"), 401)
				login := d.post("/login")
				status(t, "login", login, 204)
				status(t, "registration", d.register(login), 200)
				time.Sleep(16 * time.Minute)
				status(t, "page", d.visit(), 200)
			})
		})
	}
}

// A password change or more rights leave the browser bound, or bind it anew.
func TestBoundSessionRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		d := s.device(t)
		d.register(d.post("/login"))
		step := func(do func(w http.ResponseWriter, r *http.Request) error) *http.Response {
			s.page = func(w http.ResponseWriter, r *http.Request) {
				if err := do(w, r); err != nil {
					t.Error(err)
				}
				w.WriteHeader(204)
			}
			defer func() { s.page = nil }()
			return d.post("/page")
		}
		r := step(func(w http.ResponseWriter, r *http.Request) error {
			_, err := s.LogoutOthers(w, r)
			return err
		})
		status(t, "password change", r, 204)
		if h := r.Header.Get("Secure-Session-Registration"); h != "" {
			t.Errorf("what is bound is offered again: %q", h)
		}
		old := d.agent.clone()
		time.Sleep(16 * time.Minute)
		status(t, "page", d.visit(), 200)
		status(t, "the cookies of the password change", old.get("/page"), 401)
		first := d.id
		r = step(func(w http.ResponseWriter, r *http.Request) error {
			_, err := s.Reauthenticate(w, r, refresh.Login{AuthTime: time.Now()})
			return err
		})
		status(t, "authenticated again", r, 204)
		status(t, "registration", d.register(r), 200)
		if d.id == first {
			t.Error("the same session")
		}
		time.Sleep(16 * time.Minute)
		status(t, "page", d.visit(), 200)
		d.id, d.challenge = first, ""
		status(t, "the session of before", d.refresh(), 401)
	})
}

// Claims that have outgrown the cookie end the session, as without a key.
func TestBoundTokenTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		d := s.device(t)
		d.register(d.post("/login"))
		s.mu.Lock()
		s.claims = map[string]any{"groups": strings.Repeat("x", 4000)}
		s.mu.Unlock()
		r := d.refresh()
		status(t, "refresh", r, 401)
		if len(r.Header["Set-Cookie"]) != 0 || d.id != "" {
			t.Errorf("given %d cookies", len(r.Header["Set-Cookie"]))
		}
	})
}

// A ban, which others publish, ends a bound session at its next proof.
func TestBoundSessionBanned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		d := s.device(t)
		d.register(d.post("/login"))
		e, err := revoke.Event{Issuer: issuerName, Kind: revoke.KindSubject, Value: "user-1"}.Complete(time.Now(), s.list.Retention())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.list.Apply(revoke.Now(), e); err != nil {
			t.Fatal(err)
		}
		status(t, "refresh", d.refresh(), 401)
	})
}

// A browser refreshes a bound session when the bound cookie is gone, and so it goes on after the
// others are logged out in both layouts.
func TestBoundSessionGoesOnAfterLogoutOthers(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		t.Run(layout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, binding(), func(c *web.BrowserConfig) { c.Layout = layout })
				d := s.device(t)
				d.register(d.post("/login"))
				status(t, "logout of others", d.post("/session/logout-others"), 204)
				time.Sleep(16 * time.Minute)
				status(t, "page", d.visit(), 200)
			})
		})
	}
}
