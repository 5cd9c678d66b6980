package web_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/refresh/web"
)

// The script is served so that every browser runs it, by src alone, and knows the handler's path.
func TestScript(t *testing.T) {
	s := newShop(t, func(c *web.BrowserConfig) { c.Path = "/auth/s-1/" })
	r := s.agent(t).get("/auth/s-1/session.js")
	text := body(r)
	if r.StatusCode != 200 || r.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || r.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(r.Header.Get("Cache-Control"), "max-age") {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	if !strings.Contains(text, `"/auth/s-1/"`) || strings.Contains(text, "/session/") || strings.Contains(text, "eval") || strings.Contains(text, "innerHTML") {
		t.Error("the script is not for this handler")
	}
	status(t, "the script by POST", s.agent(t).post("/auth/s-1/session.js"), 405)
}

// Five tabs whose access token has run out send four requests each: one refresh with Web Locks,
// one a tab without, and every request is answered. What fails for another reason is told as it
// is. The script runs in Node.js, in as many worlds as there are tabs.
func TestScriptRefreshesOnce(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		gate.Skip(t, "there is no program node to run the script")
	}
	text := body(newShop(t).agent(t).get("/session/session.js"))
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ name, world, want string }{
		{"with locks", `{locks: true}`, `{"refreshes":1,"answers":{"200":20}}`},
		{"without locks", `{}`, `{"refreshes":5,"answers":{"200":20}}`},
		{"a session that is over", `{locks: true, refresh: 401}`, `{"refreshes":20,"answers":{"401":20}}`},
		{"nobody knows", `{locks: true, refresh: 503}`, `{"refreshes":20,"answers":{"503":20}}`},
		{"a refresh that is never answered", `{locks: true, hangs: 1}`, `{"refreshes":2,"answers":{"200":19,"lost":1}}`},
		{"another failure", `{locks: true, fails: 500}`, `{"refreshes":0,"answers":{"500":20}}`},
		{"more is asked for than a good token", `{locks: true, fresh: true, fails: 401}`, `{"refreshes":0,"answers":{"401":20}}`},
		{"another site", `{locks: true, url: "https://other.example/x"}`, `{"refreshes":0,"answers":{"401":20}}`},
	} {
		cmd := exec.Command(node, "-")
		cmd.Stdin = strings.NewReader(`const text = ` + string(quoted) + `, world = ` + x.world + `;` + tabs)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", x.name, err, &stderr)
		}
		if got := strings.TrimSpace(string(out)); got != x.want {
			t.Errorf("%s: %s, want %s", x.name, got, x.want)
		}
	}
}

// Whether the access token is good is told without any refresh, to the shop's own pages.
func TestAccess(t *testing.T) {
	for _, layout := range []web.Layout{web.Passing, web.Separate} {
		s := newShop(t, func(c *web.BrowserConfig) { c.Layout = layout })
		a := s.agent(t)
		ask := func(what string, want int) {
			t.Helper()
			r := a.get("/session/access")
			status(t, what, r, want)
			if len(r.Header["Set-Cookie"]) > 0 || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v: %s: it sets %d cookies, Cache-Control %s", layout, what, len(r.Header["Set-Cookie"]), r.Header.Get("Cache-Control"))
			}
		}
		ask("no session", 401)
		a = s.loggedIn(t)
		ask("a session", 204)
		a.jar = slices.DeleteFunc(a.jar, func(c *kept) bool { return !strings.HasSuffix(c.Name, "-refresh") })
		if len(a.jar) != 1 {
			t.Fatalf("%d cookies are left", len(a.jar))
		}
		ask("without an access token", 401)
		if n := s.sessions.Status().Refresh.Done; n != 0 {
			t.Errorf("%v: %d refreshes", layout, n)
		}
	}
}

// tabs is a browser with five tabs, as far as the script can tell, and a service: a cookie that is fresh or
// not, locks that all tabs share, a body that must arrive each time.
const tabs = `
const vm = require("node:vm");
let fresh = Boolean(world.fresh), refreshes = 0, chain = Promise.resolve();
const answers = {};
const later = () => new Promise(f => setTimeout(f, 1 + Math.random() * 3));
async function fetch(input, init) {
  const request = input instanceof Request ? input : new Request(new URL(input, "https://shop.example/"), init);
  const body = await request.text(), sent = fresh;
  await later();
  if (request.url === "https://shop.example/session/refresh") {
    if (request.method !== "POST") throw new Error("refresh by " + request.method);
    refreshes++;
    if (refreshes <= (world.hangs || 0)) await new Promise((_, fail) => init.signal && init.signal.addEventListener("abort", () => fail(init.signal.reason)));
    if (world.refresh) return new Response("", {status: world.refresh});
    fresh = true;
    return new Response("{}", {status: 200});
  }
  if (request.url === "https://shop.example/session/access") return new Response(null, {status: sent ? 204 : 401});
  if (body !== "order") throw new Error("the body is lost");
  if (world.fails) return new Response("", {status: world.fails});
  return new Response("", {status: sent && !world.url ? 200 : 401});
}
const timeout = ms => { const c = new AbortController(); setTimeout(() => c.abort(), ms / 100); return c.signal; };
const locks = {request: (name, f) => chain = chain.then(f, f)};
class Here extends Request { constructor(input, init) { super(typeof input === "string" ? new URL(input, "https://shop.example/") : input, init); } }
(async () => {
  const all = [];
  for (let tab = 0; tab < 5; tab++) {
    const page = vm.createContext({fetch, Request: Here, URL, AbortSignal: {timeout}, location: {origin: "https://shop.example"}, navigator: world.locks ? {locks} : {}});
    vm.runInContext(text, page);
    for (let call = 0; call < 4; call++)
      all.push(page.sessionFetch(world.url || "/orders", {method: "POST", body: "order"}).then(r => r.status, () => "lost").then(s => answers[s] = (answers[s] || 0) + 1));
  }
  await Promise.all(all);
  console.log(JSON.stringify({refreshes, answers}));
})();
`
