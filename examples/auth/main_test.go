package main

import (
	"bytes"
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/time/rate"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// running runs the program's services on free ports while the test does something with them.
func running(t *testing.T, data string, do func(shop, orders string)) {
	t.Helper()
	reset()
	err := run(t.Context(), data, "127.0.0.1:0", "127.0.0.1:0", func(shop, orders string) error {
		do(shop, orders)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reset undoes what earlier visits did to the users.
func reset() {
	users.Store("alice", "wonderland")
	users.Store("bob", "can we fix it")
	attempts = rate.NewLimiter(1, 20)
}

// A browser keeps cookies and says where its forms come from. It follows no redirects.
type browser struct {
	t testing.TB
	http.Client
}

func newBrowser(t testing.TB) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// An answer is what a browser got.
type answer struct {
	status   int
	location string
	body     string
	header   http.Header
}

func (b *browser) do(method, url, form string, change ...func(http.Header)) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, url, strings.NewReader(form))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = http.Header{"Accept": {"text/html"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range change {
		c(r.Header)
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Location"), string(body), resp.Header}
}

func (b *browser) login(shop string) {
	b.t.Helper()
	if a := b.do("POST", shop+"/login", "name=bob&password=can+we+fix+it"); a.status != 303 || a.location != "/" {
		b.t.Fatalf("login: %d to %q", a.status, a.location)
	}
}

func (a answer) is(t testing.TB, what string, status int, shows string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body+a.location, shows) {
		t.Errorf("%s: %d, location %q, want %d and %q\n%s", what, a.status, a.location, status, shows, a.body)
	}
}

// The visit passes, and is an error where the orders service does not obey.
func TestVisit(t *testing.T) {
	running(t, t.TempDir(), func(shop, orders string) {
		var out bytes.Buffer
		if err := visit(t.Context(), &out, shop, orders); err != nil {
			t.Error(err)
		}
		if !strings.HasSuffix(out.String(), "refuses all 3 access tokens that there were.\n") || strings.Contains(out.String(), "eyJ") {
			t.Errorf("the visit says:\n%s", &out)
		}
		reset()
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "[]")
			if asked++; asked == 3 {
				cancel()
			}
		}))
		defer deaf.Close()
		if err := visit(ctx, io.Discard, shop, deaf.URL); err == nil || !strings.Contains(err.Error(), "goes on accepting") {
			t.Errorf("with an orders service that accepts everything: error %v", err)
		}
	})
}

// A restart logs nobody out, and lets nobody in again who was logged out.
func TestRestart(t *testing.T) {
	data := t.TempDir()
	stays, leaves := newBrowser(t), newBrowser(t)
	var left string
	running(t, data, func(shop, orders string) {
		stays.login(shop)
		leaves.login(shop)
		left = leaves.accessToken(shop)
		if _, err := fetchOrders(t.Context(), orders, left); err != nil {
			t.Errorf("before the logout: %v", err)
		}
		leaves.do("POST", shop+"/session/logout", "return_to=/login").is(t, "logout", 303, "/login")
	})
	running(t, data, func(shop, orders string) {
		stays.do("GET", shop+"/", "").is(t, "after the restart", 200, "Claw hammer")
		if _, err := fetchOrders(t.Context(), orders, left); err == nil || err.Error() != "401 Unauthorized" {
			t.Errorf("a token of a session that had ended: %v", err)
		}
		stays.do("POST", shop+"/session/refresh", "").is(t, "refresh", 303, "/")
	})
	running(t, t.TempDir(), func(shop, _ string) { // the twin: other data
		stays.do("GET", shop+"/", "").is(t, "another shop", 303, "/login")
	})
}

// Every form does with what the page holds alone: without a script, and, but for the login, in a
// browser that does not say where it comes from.
func TestForms(t *testing.T) {
	silent := func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Del("Sec-Fetch-Mode") }
	running(t, t.TempDir(), func(shop, _ string) {
		here, there := newBrowser(t), newBrowser(t)
		login := here.form(shop+"/login?return_to=/devices", "/login")
		login.Set("name", "bob")
		login.Set("password", "can we fix it")
		here.do("POST", shop+"/login", login.Encode(), silent).is(t, "a login from nowhere", 403, "another site")
		here.do("POST", shop+"/login", login.Encode()).is(t, "login", 303, "/devices")
		there.login(shop)

		send := func(from, action, to string, fields ...string) {
			t.Helper()
			f := here.form(shop+from, action)
			for i := 0; i < len(fields); i += 2 {
				f.Set(fields[i], fields[i+1])
			}
			token := f["csrf_token"]
			f.Del("csrf_token")
			here.do("POST", shop+action, f.Encode(), silent).is(t, action+" without its token", 403, "another site")
			f["csrf_token"] = token
			here.do("POST", shop+action, f.Encode(), silent).is(t, action, 303, to)
		}
		send("/devices", "/session/sessions/end", "/devices?said=device")
		here.do("GET", shop+"/devices?said=device", "").is(t, "then", 200, "That device is logged out.")
		there.do("GET", shop+"/", "").is(t, "the other device", 303, "/login")
		there.login(shop)
		send("/devices", "/session/logout-others", "/devices?said=others")
		there.do("GET", shop+"/", "").is(t, "the other device", 303, "/login")
		there.login(shop)
		send("/password", "/password", "/devices?said=password", "current", "can we fix it", "new", "yes we can")
		there.do("GET", shop+"/", "").is(t, "the other device", 303, "/login")
		there.do("POST", shop+"/login", "name=bob&password=can+we+fix+it").is(t, "the old password", 422, "do not go together")
		there.do("POST", shop+"/login", "name=bob&password=yes+we+can").is(t, "the new one", 303, "/")
		send("/", "/session/logout", "/login?said=out")
		here.do("GET", shop+"/login?said=out", "").is(t, "then", 200, "You are logged out.")
		here.do("GET", shop+"/", "").is(t, "the pages", 303, "/login")
	})
}

// An address that cannot be had is told with the flag that sets it.
func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	in, free := taken.Addr().String(), "127.0.0.1:0"
	for flag, at := range map[string]struct{ shop, orders string }{"-shop": {in, free}, "-orders": {free, in}} {
		err := run(t.Context(), t.TempDir(), at.shop, at.orders, func(shop, orders string) error {
			t.Errorf("%s: it runs", flag)
			return nil
		})
		if err == nil || !strings.HasPrefix(err.Error(), flag+": ") || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: error %v", flag, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	running(t, t.TempDir(), func(shop, orders string) {
		b := newBrowser(t)
		b.do("GET", shop+"/devices?a=b", "").is(t, "without a session", 303, "/login?return_to=%2Fdevices%3Fa%3Db")
		b.do("POST", shop+"/login", "name=nobody&password=").is(t, "nobody", 422, "do not go together")
		b.do("POST", shop+"/login", "name=%3Cb%3E&password=x").is(t, "markup", 422, `value="&lt;b&gt;"`)
		b.do("POST", shop+"/login", "name=bob&password=can+we+fix+it&return_to=//evil.example").is(t, "a return to another site", 303, "/")
		b.do("GET", shop+"/devices?said=%3Cb%3E", "").is(t, "a message that is none", 200, `role="status"></p>`)
		b.do("POST", shop+"/password", "current=no&new=long+enough").is(t, "a wrong password", 422, "not your current password")
		b.do("POST", shop+"/password", "current=can+we+fix+it&new=short").is(t, "a short one", 422, "too short")
		b.do("POST", shop+"/password", "current=can+we+fix+it&new=long+enough", func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") }).is(t, "another site", 403, "another site")
		b.do("GET", shop+"/", "").is(t, "after all that", 200, "Claw hammer")
		if _, err := fetchOrders(t.Context(), orders, "eyJ"); err == nil {
			t.Error("the orders service accepts nonsense")
		}
		last := answer{}
		for range 40 {
			if last = b.do("POST", shop+"/login", "name=bob&password=x"); last.status != 422 {
				break
			}
		}
		if last.is(t, "guesses", 429, "Too many"); last.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})
}

// Pages need no script, load nothing from elsewhere, and private ones are not kept.
func TestPages(t *testing.T) {
	running(t, t.TempDir(), func(shop, _ string) {
		b := newBrowser(t)
		b.login(shop)
		loads := regexp.MustCompile(`(?:src|<link[^>]* href)="([^"]*)"`)
		for _, path := range []string{"/", "/devices", "/password", "/login"} {
			a := b.do("GET", shop+path, "")
			a.is(t, path, 200, "</html>")
			if strings.Contains(a.body, "<script") || strings.Contains(a.body, " style=") || !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s has a script, a style or no policy", path)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" && path != "/login" {
				t.Errorf("%s: Cache-Control %q", path, got)
			}
			found := loads.FindAllStringSubmatch(a.body, -1)
			for _, m := range found {
				if a := b.do("GET", shop+m[1], ""); !strings.HasPrefix(m[1], "/static/") || a.status != 200 {
					t.Errorf("%s loads %s: %d", path, m[1], a.status)
				}
			}
			if len(found) != 3 {
				t.Errorf("%s loads %d things", path, len(found))
			}
		}
	})
}

// The lines of the README, run as they stand.
//
//blocks:run examples/auth/README.md sh
func TestReadme(t *testing.T) {
	for _, program := range []string{"sh", "curl", "awk"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "no "+program+" is installed")
		}
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindSubmatch(text)
	if block == nil {
		t.Fatal("no block of sh")
	}
	running(t, t.TempDir(), func(shop, orders string) {
		lines := strings.NewReplacer("http://127.0.0.1:8080", shop, "http://127.0.0.1:8081", orders).Replace(string(block[1]))
		cmd := exec.CommandContext(t.Context(), "sh", "-eu")
		cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader(lines)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		rest := string(out)
		for _, want := range []string{"303\n", `"label":"curl"`, "Storm lantern", "403\n", "204\n", "401\n"} {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("no %q where it was expected, in\n%s", want, out)
			}
			rest = after
		}
		if rest != "" {
			t.Errorf("after all that: %q", rest)
		}
	})
}

// form returns the first form of a page with that action, filled in as the page has it.
func (b *browser) form(page, action string) url.Values {
	b.t.Helper()
	a := b.do("GET", page, "")
	m := regexp.MustCompile(`(?s)<form method="post" action="` + regexp.QuoteMeta(action) + `"[^>]*>(.*?)</form>`).FindStringSubmatch(a.body)
	if m == nil {
		b.t.Fatalf("%s has no form for %s: %d\n%s", page, action, a.status, a.body)
	}
	fields := url.Values{}
	for _, input := range regexp.MustCompile(`<input[^>]*>`).FindAllString(m[1], -1) {
		attribute := func(name string) string {
			v := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(input)
			if v == nil {
				return ""
			}
			return html.UnescapeString(v[1])
		}
		fields.Set(attribute("name"), attribute("value"))
	}
	return fields
}

func (b *browser) accessToken(shop string) string {
	b.t.Helper()
	u, err := url.Parse(shop)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == "__Host-Http-session" {
			return c.Value
		}
	}
	b.t.Fatal("no access token")
	return ""
}
