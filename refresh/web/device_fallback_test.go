package web_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

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
