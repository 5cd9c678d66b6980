package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// A browser that can is bound after its login, and goes on for the life of the session: one round trip
// each time that its cookie has run out.
func TestDeviceBinding(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		t.Run(layout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, binding(), func(c *web.BrowserConfig) { c.Layout = layout })
				d := s.device(t)
				login := d.post("/login")
				status(t, "login", login, 204)
				status(t, "registration", d.register(login), 200)
				if strings.HasPrefix(d.credential.name, "__Host-Http-") { // of which Chromium 156 makes no session
					t.Fatalf("the bound cookie is named %s", d.credential.name)
				}
				if !d.bound() {
					t.Fatalf("the bound cookie is %+v, declared as %+v", d.jar, d.credential)
				}
				if list, err := s.sessions.Sessions(t.Context(), "user-1"); err != nil || len(list) != 1 || !list[0].DeviceBound {
					t.Fatalf("%v, %v", list, err)
				}
				for range 30 {
					time.Sleep(16 * time.Minute)
					d.posts = 0
					token := d.cookie("-refresh").Value
					status(t, "page", d.visit(), 200)
					if d.posts != 1 {
						t.Fatalf("%d round trips", d.posts)
					}
					if d.cookie("-refresh").Value == token {
						t.Fatal("the refresh token that came along did not rotate")
					}
				}
				time.Sleep(50 * time.Minute) // idle, and its challenge is too old
				d.posts = 0
				status(t, "page", d.visit(), 200)
				if d.posts != 2 {
					t.Fatalf("%d round trips after a pause", d.posts)
				}
				// Its own requests carry the cookies of the site that caused them: none, or all.
				time.Sleep(16 * time.Minute)
				jar := d.jar
				d.jar = nil
				r := d.refresh()
				if status(t, "without cookies", r, 204); len(d.jar) != 1 || !d.bound() {
					t.Fatalf("given %v", d.jar)
				}
				d.jar = append(jar, d.jar...)
				status(t, "page", d.get("/page"), 200)
				d.own(d.refreshURL, "Sec-Secure-Session-Id", d.id+"A", "Secure-Session-Response", d.proof(d.challenge)) // which is logged
				if log := s.logged.String(); log == "" || strings.Contains(log, d.id) || strings.Contains(log, d.challenge) || strings.Contains(log, d.cookie("-refresh").Value) {
					t.Error("the log shows a secret, or nothing")
				}
			})
		})
	}
}

// A browser that knows nothing of it is not bound, and goes on as ever.
func TestDeviceBindingIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		a := s.loggedIn(t)
		for range 5 {
			time.Sleep(16 * time.Minute)
			status(t, "page", a.get("/page"), 200)
		}
		status(t, "script", a.post("/session/refresh"), 200)
		s = newShop(t)
		r := s.agent(t).post("/login")
		if h := r.Header.Get("Secure-Session-Registration"); h != "" {
			t.Errorf("offered unasked: %q", h)
		}
		for _, path := range []string{"/session/bound/register", "/session/bound/refresh"} {
			status(t, path, s.agent(t).post(path), 404)
		}
	})
}

// A stolen cookie jar is worth what is left of the access token's life: afterwards a thief's browser is
// refused, whether it has a key of its own or none, and the user goes on. Without binding it is as
// good as the user's.
func TestStolenJar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range map[string]*shop{"bound": newShop(t, binding()), "not bound": newShop(t)} {
			d := s.device(t)
			login := d.post("/login")
			bound := name == "bound"
			if bound {
				d.register(login)
			}
			time.Sleep(14 * time.Minute)
			thief := &device{agent: d.agent.clone()}
			status(t, name+": within the life of the access token", thief.clone().get("/page"), 200)
			time.Sleep(2 * time.Minute)
			want := 401
			if !bound {
				want = 200
			}
			status(t, name+": the thief", thief.clone().get("/page"), want)
			if !bound {
				continue
			}
			status(t, "by the script's way", thief.clone().post("/session/refresh"), 401)
			// The thief has the headers of the login, too, and knows the id.
			thief.id, thief.refreshURL, thief.challenge = d.id, d.refreshURL, d.challenge
			status(t, "a registration", thief.register(login), 403)
			status(t, "a proof of another key", thief.refresh(), 403)
			overheard := d.proof(d.challenge)
			used := d.own(d.refreshURL, "Sec-Secure-Session-Id", d.id, "Secure-Session-Response", overheard)
			status(t, "a proof of the user's", used, 204)
			d.challenged(used)
			status(t, "the same, overheard", thief.own(d.refreshURL, "Sec-Secure-Session-Id", d.id, "Secure-Session-Response", overheard), 403)
			status(t, "the user", d.visit(), 200)
			status(t, "the thief after that", thief.clone().get("/page"), 401)
			time.Sleep(16 * time.Minute)
			status(t, "the user later", d.visit(), 200)
			if s.replayed != 0 {
				t.Error("taken for a theft")
			}
		}
	})
}

// What the answers to proofs are: 403 with another challenge where the proof is missing, stale,
// another's, or was used; 401, which ends the browser's session, where it is over; 503 and never 429
// where nobody can know.
func TestBoundAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		d := s.device(t)
		d.register(d.post("/login"))
		id, url := d.id, d.refreshURL
		used := d.proof(d.challenge)
		status(t, "good", d.refresh(), 204)
		other := s.device(t)
		other.register(other.post("/login"))
		for name, headers := range map[string][]string{
			"no proof":         {"Sec-Secure-Session-Id", id},
			"a replay":         {"Sec-Secure-Session-Id", id, "Secure-Session-Response", used},
			"no JWT":           {"Sec-Secure-Session-Id", id, "Secure-Session-Response", "x"},
			"another's key":    {"Sec-Secure-Session-Id", id, "Secure-Session-Response", other.proof(d.challenge)},
			"another's prover": {"Sec-Secure-Session-Id", id, "Secure-Session-Response", d.proof(other.challenge)},
		} {
			r := d.own(url, headers...)
			status(t, name, r, 403)
			if !d.challenged(r) {
				t.Errorf("%s: no challenge, which ends the browser's session", name)
			}
			if len(r.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s: given %v", name, r.Header["Set-Cookie"])
			}
			status(t, "after "+name, d.refresh(), 204)
		}
		// The text of the draft has both headers in quotes.
		status(t, "in quotes", d.own(url, "Sec-Secure-Session-Id", `"`+id+`"`, "Secure-Session-Response", `"`+d.proof(d.challenge)+`"`), 204)
		r := d.own(url, "Sec-Secure-Session-Id", id)
		d.challenged(r)
		r = d.post(url, func(r *http.Request) {
			r.Header["Sec-Secure-Session-Id"] = []string{id}
			r.Header["Secure-Session-Response"] = []string{d.proof(d.challenge), d.proof(d.challenge)}
		})
		status(t, "two proofs", r, 403)
		for name, id := range map[string]string{"no id": "", "made up": strings.Repeat("A", 43), "two in one": id + ", " + id} {
			status(t, name, other.agent.post(url, with("Sec-Secure-Session-Id", id), with("Secure-Session-Response", d.proof(d.challenge))), 401)
		}
		status(t, "GET", d.get(url), 405)

		// Whatever page has caused it, a browser sends it as of the session's own origin. As of another
		// it is a session that a sibling subdomain has made, with this URL in it.
		for _, from := range []struct {
			site, origin string
			status       int
		}{
			{"same-origin", origin, 204}, {"none", origin, 204}, {"", origin, 204},
			{"same-site", "https://sibling." + host, 403}, {"cross-site", "https://evil.example", 403}, {"", "https://sibling." + host, 403},
		} {
			d.challenged(d.own(url, "Sec-Secure-Session-Id", id))
			r := d.own(url, "Sec-Secure-Session-Id", id, "Secure-Session-Response", d.proof(d.challenge), "Sec-Fetch-Site", from.site, "Origin", from.origin)
			status(t, fmt.Sprint(from), r, from.status)
			if r.StatusCode == 403 && len(r.Header["Set-Cookie"])+len(r.Header["Secure-Session-Challenge"]) > 0 {
				t.Errorf("%v: answered with %v", from, r.Header)
			}
			d.challenged(r)
		}

		s.store.set(nil, errors.New("no store"))
		r = d.refresh()
		status(t, "no store", r, 503)
		if r.Header.Get("Retry-After") == "" || d.id == "" {
			t.Error("the browser's session is ended")
		}
		time.Sleep(16 * time.Minute)
		status(t, "a page meanwhile", d.visit(), 503)
		s.store.set(nil, nil)
		status(t, "a page afterwards", d.visit(), 200)
	})
}

// An access token of less than five minutes would have the browser refresh at every request.
func TestDeviceBindingConfig(t *testing.T) {
	for access, good := range map[time.Duration]bool{5 * time.Minute: true, 15 * time.Minute: true, 5*time.Minute - time.Millisecond: false, 10 * time.Second: false} {
		for _, on := range []bool{true, false} {
			s := newShop(t, func(c *refresh.Config) { c.Lifetimes.Access = access })
			cfg := web.BrowserConfig{Sessions: s.sessions, Verifier: s.verifier, Client: "shop"}
			if on {
				cfg.DeviceBinding = &web.DeviceBinding{}
			}
			_, err := web.NewBrowser(cfg)
			if (err == nil) != (good || !on) || err != nil && !strings.Contains(err.Error(), "DeviceBinding") {
				t.Errorf("access tokens of %s, bound %t: %v", access, on, err)
			}
		}
	}
	s := newShop(t)
	_, err := web.NewBrowser(web.BrowserConfig{Sessions: s.sessions, Verifier: s.verifier, Client: "shop", DeviceBinding: &web.DeviceBinding{Fallback: 3}})
	if err == nil || !strings.Contains(err.Error(), "Fallback") {
		t.Error(err)
	}
	s.login = func(l *refresh.Login) { l.BindDevice = true }
	status(t, "a login that is bound without DeviceBinding", s.agent(t).post("/login"), 500)
}

// A store that hangs holds up a browser's own requests for five seconds: without an answer it
// would hold up every request of the page for twenty. Afterwards all goes on.
func TestBoundAnswersInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		d, fresh := s.device(t), s.device(t)
		d.register(d.post("/login"))
		offered := fresh.post("/login")
		hold := make(chan struct{})
		s.store.set(hold, nil)
		for what, ask := range map[string]func() *http.Response{
			"a refresh":      func() *http.Response { return d.refresh() },
			"a registration": func() *http.Response { return fresh.register(offered) },
		} {
			began := time.Now()
			r := ask()
			status(t, what, r, 503)
			if took := time.Since(began); took > 5*time.Second || r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: answered after %v, Retry-After %q", what, took, r.Header.Get("Retry-After"))
			}
		}
		close(hold)
		s.store.set(nil, nil)
		status(t, "a refresh afterwards", d.refresh(), 204)
		status(t, "a registration afterwards", fresh.register(offered), 200)
	})
}
