package web_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A device is an agent that binds its sessions, as Chromium 156 does: what it sends, and what it
// makes of the answers. Its requests to register and refresh are its own, and no page's.
type device struct {
	*agent
	key           *ecdsa.PrivateKey
	id, challenge string // of its session; no id: it has none
	cached        string // the proof that it sends while it has no other challenge
	refreshURL    string
	credential    struct{ name, attributes string }
	posts         int
}

func (s *shop) device(t testing.TB) *device { return &device{agent: s.agent(t)} }

func binding(f ...web.Fallback) func(*web.BrowserConfig) {
	return func(c *web.BrowserConfig) {
		c.DeviceBinding = &web.DeviceBinding{}
		for _, f := range f {
			c.DeviceBinding.Fallback = f
		}
	}
}

func (d *device) sign(header, payload string) string {
	in := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(in))
	r, s, err := ecdsa.Sign(rand.Reader, d.key, sum[:])
	if err != nil {
		d.t.Fatal(err)
	}
	return in + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func (d *device) proof(challenge string) string {
	return d.sign(`{"alg":"ES256","typ":"dbsc+jwt"}`, fmt.Sprintf(`{"jti":%q}`, challenge))
}

var registrationHeader = regexp.MustCompile(`^\(ES256 RS256\);path="([^"]+)";challenge="([^"]+)";authorization="([^"]+)"$`)

// own is a request of the browser's own, with the header that it has.
func (d *device) own(path string, headers ...string) *http.Response {
	d.t.Helper()
	d.posts++
	return d.post(path, func(r *http.Request) {
		r.Header.Set("Origin", origin)
		r.Header.Set("Sec-Fetch-Mode", "no-cors")
		r.Header["Priority"] = []string{"u=4, i"}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	})
}

// register answers the offer of a login.
func (d *device) register(login *http.Response) *http.Response {
	d.t.Helper()
	m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
	if m == nil {
		d.t.Fatalf("offered %q", login.Header.Get("Secure-Session-Registration"))
	}
	var err error
	if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		d.t.Fatal(err)
	}
	return d.registered(d.own(m[1], "Secure-Session-Response", d.registration(m[3], m[2])))
}

func (d *device) registration(authorization, challenge string) string {
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.t.Fatal(err)
	}
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	return d.sign(fmt.Sprintf(`{"alg":"ES256","jwk":{"crv":"P-256","kty":"EC","x":%q,"y":%q},"typ":"dbsc+jwt"}`, x, y), fmt.Sprintf(`{"authorization":%q,"jti":%q}`, authorization, challenge))
}

// registered is what it makes of the answer to a registration.
func (d *device) registered(r *http.Response) *http.Response {
	d.t.Helper()
	if r.StatusCode != 200 {
		return r
	}
	var config struct {
		ID          string `json:"session_identifier"`
		RefreshURL  string `json:"refresh_url"`
		Scope       *struct{ Include_Site *bool }
		Credentials []struct{ Type, Name, Attributes string }
	}
	if err := json.Unmarshal([]byte(body(r)), &config); err != nil || config.ID == "" || config.Scope == nil || config.Scope.Include_Site == nil || *config.Scope.Include_Site || len(config.Credentials) != 1 || config.Credentials[0].Type != "cookie" {
		d.t.Fatalf("a browser makes no session of %s: %v", body(r), err)
	}
	d.id, d.refreshURL = config.ID, config.RefreshURL
	d.credential.name, d.credential.attributes = config.Credentials[0].Name, config.Credentials[0].Attributes
	d.challenged(r)
	return r
}

func (d *device) challenged(r *http.Response) bool {
	d.t.Helper()
	h := r.Header.Get("Secure-Session-Challenge")
	if h == "" {
		return false
	}
	challenge, id, ok := strings.Cut(h, ";id=")
	if !ok || id != `"`+d.id+`"` || len(challenge) < 3 {
		d.t.Errorf("the challenge %q is not for session %s", h, d.id)
		return false
	}
	d.challenge, d.cached = strings.Trim(challenge, `"`), ""
	return true
}

// bound reports whether the jar holds the bound cookie, with the attributes that it was declared with.
func (d *device) bound() bool {
	for _, c := range d.jar {
		if c.Name == d.credential.name && !c.over() {
			return c.Path == "/" && c.Secure && c.HttpOnly && c.SameSite == http.SameSiteLaxMode && d.credential.attributes == "Path=/; Secure; HttpOnly; SameSite=Lax"
		}
	}
	return false
}

// refresh is what it does before a request when the bound cookie is missing: at most five POSTs. It
// returns the last answer.
func (d *device) refresh() *http.Response {
	d.t.Helper()
	for try := 0; ; try++ {
		headers := []string{"Sec-Secure-Session-Id", d.id}
		if d.challenge != "" {
			if d.cached == "" {
				d.cached = d.proof(d.challenge)
			}
			headers = append(headers, "Secure-Session-Response", d.cached)
		}
		r := d.own(d.refreshURL, headers...)
		again := d.challenged(r)
		switch {
		case r.StatusCode == 403 && again && try < 4:
			continue
		case r.StatusCode >= 400 && r.StatusCode < 500 && r.StatusCode != 407:
			d.id = ""
		}
		return r
	}
}

// visit asks for the page, and refreshes before that where it has to.
func (d *device) visit(changes ...change) *http.Response {
	d.t.Helper()
	if d.id != "" && !d.bound() {
		if r := d.refresh(); r.StatusCode >= 500 {
			changes = append(changes, with("Secure-Session-Skipped", `server_error;session_identifier="`+d.id+`"`))
		}
	}
	return d.get("/page", changes...)
}

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

// A registration that lacks something is refused, sets no cookie, and binds nothing.
func TestBoundRegistrationRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding())
		for name, headers := range map[string]func(d *device, authorization, challenge string) []string{
			"no proof": func(d *device, a, c string) []string { return nil }, // as of a browser that was given no challenge
			"another challenge": func(d *device, a, c string) []string {
				return []string{"Secure-Session-Response", d.registration(a, "x")}
			},
			"no authorization": func(d *device, a, c string) []string {
				return []string{"Secure-Session-Response", d.registration("", c)}
			},
			"an id": func(d *device, a, c string) []string {
				return []string{"Sec-Secure-Session-Id", "x", "Secure-Session-Response", d.proof(c)}
			},
		} {
			d := s.device(t)
			login := d.post("/login")
			m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
			d.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			r := d.own(m[1], headers(d, m[3], m[2])...)
			status(t, name, r, 403)
			if len(r.Header["Set-Cookie"]) != 0 || r.Header.Get("Secure-Session-Challenge") != "" {
				t.Errorf("%s: answered with %v", name, r.Header)
			}
			status(t, "the same login, after "+name, d.register(login), 200)
			again := s.device(t)
			again.jar = d.jar
			status(t, "a second time", again.register(login), 403)
			time.Sleep(16 * time.Minute)
			status(t, "page", d.visit(), 200)
		}
		d := s.device(t)
		login := d.post("/login")
		s.store.set(nil, errors.New("no store"))
		status(t, "no store", d.register(login), 503)
		s.store.set(nil, nil)
		time.Sleep(16 * time.Minute)
		status(t, "not bound", d.agent.get("/page"), 200)
	})
}

// What the application says of a browser that has fallen back to its refresh token: refuse, ask for
// more, or let it go on and be told. It stays bound in any case.
func TestFallback(t *testing.T) {
	quota := with("Secure-Session-Skipped", `quota_exceeded;session_identifier="x"`)
	for _, c := range []struct {
		fallback           web.Fallback
		script, page, told int
		skipped, refresh   int // of a script that says so, of session.js
		login              bool
	}{
		{web.Refuse, 401, 303, 0, 503, 401, true},
		{web.StepUp, 403, 303, 0, 403, 403, true},
		{web.InsecureNote, 200, 200, 1, 200, 200, false},
	} {
		t.Run(c.fallback.String(), func(t *testing.T) {
			for _, layout := range []web.Layout{web.Passing, web.Separate} {
				synctest.Test(t, func(t *testing.T) {
					told := map[bool]int{}
					s := newShop(t, binding(c.fallback), func(b *web.BrowserConfig) { b.LoginPath, b.Layout = "/login", layout }, func(r *refresh.Config) {
						r.OnUnbound = func(_ context.Context, _ refresh.Session, answered bool) { told[answered]++ }
					})
					d := s.device(t)
					d.register(d.post("/login"))
					time.Sleep(16 * time.Minute)
					steps := []struct {
						what string
						do   func(a *agent) *http.Response
						want int
					}{
						{"session.js", func(a *agent) *http.Response { return a.post("/session/refresh") }, c.refresh},
						{"session.js, skipped", func(a *agent) *http.Response { return a.post("/session/refresh", quota) }, c.skipped},
					}
					if layout == web.Passing {
						steps = append(steps, []struct {
							what string
							do   func(a *agent) *http.Response
							want int
						}{
							{"script", func(a *agent) *http.Response { return a.get("/page") }, c.script},
							{"script, skipped", func(a *agent) *http.Response { return a.get("/page", quota) }, c.skipped},
							{"navigation", func(a *agent) *http.Response { return a.get("/page", navigating) }, c.page},
						}...)
					} else {
						steps = append(steps, struct {
							what string
							do   func(a *agent) *http.Response
							want int
						}{"navigation, skipped", func(a *agent) *http.Response {
							r := a.get("/page", navigating, quota)
							if to := r.Header.Get("Location"); r.StatusCode != 303 || !strings.HasPrefix(to, "/session/return?") {
								t.Fatalf("%d, sent to %q", r.StatusCode, to)
							}
							r = a.get(r.Header.Get("Location"), navigating, quota)
							if to := r.Header.Get("Location"); r.StatusCode == 303 && to != map[bool]string{true: "/login?return_to=%2Fpage", false: "/page"}[c.login] {
								t.Errorf("sent to %q", to)
							}
							return r
						}, map[web.Fallback]int{web.Refuse: 503, web.StepUp: 303, web.InsecureNote: 303}[c.fallback]})
					}
					for _, step := range steps {
						status(t, layout.String()+", "+step.what, step.do(d.agent.clone()), step.want)
					}
					if (told[true] > 0) != (c.told == 1) || told[true]+told[false] != len(steps) {
						t.Errorf("the application was told %v of %d", told, len(steps))
					}
					status(t, "the device", d.visit(), 200)
				})
			}
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

// A sibling subdomain can have a browser register a key for the offer of a login of its own: the
// answer would log the user in as somebody else.
func TestRegistrationFromAnotherOrigin(t *testing.T) {
	s := newShop(t, binding())
	stranger := s.device(t) // logs in, and hands its offer to a page
	login := stranger.post("/login")
	m := registrationHeader.FindStringSubmatch(login.Header.Get("Secure-Session-Registration"))
	if m == nil {
		t.Fatal("nothing is offered")
	}
	user := s.device(t)
	var err error
	if user.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	for _, from := range []struct {
		site, origin string
		status       int
	}{
		{"same-site", "https://sibling." + host, 403},
		{"cross-site", "https://evil.example", 403},
		{"", "https://sibling." + host, 403},
		{"", "", 403},
		{"same-origin", origin, 200},
	} {
		r := user.own(m[1], "Secure-Session-Response", user.registration(m[3], m[2]), "Sec-Fetch-Site", from.site, "Origin", from.origin)
		status(t, fmt.Sprint(from), r, from.status)
		if n := len(r.Header["Set-Cookie"]); (n > 0) != (from.status == 200) {
			t.Errorf("%v: %d cookies are set", from, n)
		}
	}
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

// It goes on being bound after a refresh that Fallback has let pass without a proof.
func TestBoundAfterFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, binding(web.InsecureNote), func(c *web.BrowserConfig) { c.Layout = web.Separate })
		d := s.device(t)
		d.register(d.post("/login"))
		status(t, "refresh", d.post("/session/refresh"), 200)
		time.Sleep(16 * time.Minute)
		if d.bound() {
			t.Error("the bound cookie outlives its token: the browser never proves again")
		}
		status(t, "page", d.visit(), 200)
	})
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
