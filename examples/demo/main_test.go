package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestMain(m *testing.M) {
	level.Set(silent)
	os.Exit(m.Run())
}

// running starts everything, with its page, for a test.
func running(t *testing.T) (w *world, url string) {
	t.Helper()
	w, err := start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(newPage(w))
	srv.Config.BaseContext = func(net.Listener) context.Context { return w.ctx }
	srv.Start()
	t.Cleanup(func() {
		w.close()
		srv.Close()
	})
	return w, srv.URL
}

// The tour passes; and it is an error if a service does not obey.
func TestTour(t *testing.T) {
	_, url := running(t)
	var out bytes.Buffer
	if err := tour(t.Context(), &out, url); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	if text := out.String(); strings.Contains(text, "eyJ") || !strings.Contains(text, "Everything was as expected") {
		t.Errorf("the tour says\n%s", text)
	}
}

// A visitor notices a service that goes on accepting, one that is not what it should be, and a
// button that does nothing.
func TestVisitorNotices(t *testing.T) {
	w, url := running(t)
	deaf := w.services[1]
	deaf.policy.Store(int32(len(policies) - 1)) // InsecureAllow
	deaf.link.cut()
	for name, c := range map[string]struct {
		do   func(v *visitor)
		says string
	}{
		"accepts": {func(v *visitor) {
			v.presses("Alice logs out.", "logout", "alice", "laptop")
			v.sees("All refuse.", v.answer("alice", "laptop", 1, refused))
		}, `billing answers alice’s laptop "accepted", not "refused"`},
		"state":     {func(v *visitor) { v.sees("All are stale.", v.services("stale", "stale", "stale")) }, "orders is fresh (), not stale"},
		"no button": {func(v *visitor) { v.tells("It is mended.", "glue", target{}) }, "there is no action"},
		"not so":    {func(v *visitor) { v.tells("A logout.", "logout", target{Device: 4711}) }, "Choose a device first."},
		"it does":   {func(v *visitor) { v.isRefused("No login.", "login", "carol", "phone") }, "No login. Not so"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		v := &visitor{ctx: ctx, out: io.Discard, page: url, patience: 6 * time.Second}
		c.do(v)
		if v.err == nil || !strings.Contains(v.err.Error(), c.says) {
			t.Errorf("%s: error %v", name, v.err)
		}
		cancel()
	}
}

// Another site in the same browser, and another name for this machine, get nothing; and the page
// asks nobody else for anything.
func TestPageIsGuarded(t *testing.T) {
	_, url := running(t)
	const lift = `{"do":"lift","device":1}`
	for name, c := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		want               int
	}{
		"the page":                 {"GET", "/", "", func(*http.Request) {}, 200},
		"its script":               {"GET", "/app.js", "", func(*http.Request) {}, 200},
		"by the name localhost":    {"GET", "/", "", func(r *http.Request) { r.Host = "localhost:8070" }, 200},
		"by another name":          {"GET", "/", "", func(r *http.Request) { r.Host = "evil.example" }, 403},
		"states by another name":   {"GET", "/state", "", func(r *http.Request) { r.Host = "evil.example:80" }, 403},
		"another address":          {"GET", "/", "", func(r *http.Request) { r.Host = "192.0.2.1" }, 403},
		"a button":                 {"POST", "/act", lift, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 200},
		"a button by curl":         {"POST", "/act", lift, func(*http.Request) {}, 200},
		"from another site":        {"POST", "/act", lift, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"from another port":        {"POST", "/act", lift, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }, 403},
		"from another origin":      {"POST", "/act", lift, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		"as a form":                {"POST", "/act", lift, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 400},
		"what is no JSON":          {"POST", "/act", "{", func(*http.Request) {}, 400},
		"too much":                 {"POST", "/act", `{"do":"` + strings.Repeat("x", 8<<10) + `"}`, func(*http.Request) {}, 400},
		"an unknown button":        {"POST", "/act", `{"do":"explode"}`, func(*http.Request) {}, 500},
		"a button for no device":   {"POST", "/act", `{"do":"logout","device":-1}`, func(*http.Request) {}, 409},
		"for no user":              {"POST", "/act", `{"do":"add","user":"mallory"}`, func(*http.Request) {}, 409},
		"for no service":           {"POST", "/act", `{"do":"cut","service":"x"}`, func(*http.Request) {}, 409},
		"a policy that is none":    {"POST", "/act", `{"do":"policy","service":"orders","policy":"x"}`, func(*http.Request) {}, 409},
		"a button by GET":          {"GET", "/act", "", func(*http.Request) {}, 404},
		"what is not on the page":  {"GET", "/main.go", "", func(*http.Request) {}, 404},
		"what lies above the page": {"GET", "/../main.go", "", func(*http.Request) {}, 404},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		c.change(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.want)
		}
		if c.want == 200 && !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'; style-src 'self'") {
			t.Errorf("%s: no policy of content", name)
		}
	}
	for _, name := range []string{"index.html", "app.js", "theme.js", "style.css"} {
		b, err := files.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http:", "https:", " style=", "onclick", "innerHTML", "eval("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s contains %q", name, bad)
			}
		}
	}
}

// An address that cannot be had is told with the flag that sets it.
func TestListenInUse(t *testing.T) {
	taken, err := listenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().String()
	if _, err := listenLoopback(at); err == nil || !strings.HasPrefix(err.Error(), "-listen: ") || !strings.Contains(err.Error(), at) {
		t.Errorf("error %v", err)
	}
}

// The page listens to this machine alone.
func TestListenLoopback(t *testing.T) {
	for address, good := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true,
		"0.0.0.0:0": false, ":0": false, "192.0.2.1:0": false, "example.com:80": false, "127.0.0.1": false,
	} {
		l, err := listenLoopback(address)
		if err == nil {
			l.Close()
		}
		if good && err != nil && !strings.Contains(err.Error(), "cannot assign") || !good && (err == nil || !strings.HasPrefix(err.Error(), "-listen: ")) {
			t.Errorf("%s: error %v", address, err)
		}
	}
}

// A link carries both ways, nothing while it is cut, and again when it is mended.
func TestLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	k, err := newLink(func() string { return echo.Addr().String() })
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(k.url(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(30 * time.Second))
		return c
	}
	carries := func(c net.Conn) bool {
		b := make([]byte, 4)
		_, err := c.Write([]byte("ping"))
		if err == nil {
			_, err = io.ReadFull(c, b)
		}
		return err == nil && string(b) == "ping"
	}
	c := dial()
	if !carries(c) {
		t.Error("it carries nothing")
	}
	k.cut()
	if carries(c) || carries(dial()) || !k.wasCut() {
		t.Error("it carries although it is cut")
	}
	k.mend()
	if !carries(dial()) || k.wasCut() {
		t.Error("it carries nothing although it is mended")
	}
}

// A chase ends with the last refusal, counts what was accepted after the click, and nothing else.
func TestChase(t *testing.T) {
	var c chaser
	a, b := &device{token: "one", hurry: []chan struct{}{}}, &device{token: "two"}
	before := time.Now()
	c.begin("logout", 2, []*device{a})
	if again, _ := c.saw(a, 0, "one", before, refused); !again || c.result().Done != 0 {
		t.Error("an answer to a question from before the click counts")
	}
	for _, s := range []struct {
		d           *device
		service     int
		raw         string
		got         answer
		again, over bool
		done, let   int
	}{
		{b, 0, "two", accepted, false, false, 0, 0},
		{a, 0, "another", accepted, false, false, 0, 0},
		{a, 0, "one", accepted, true, false, 0, 1},
		{a, 0, "one", refused, false, false, 1, 1},
		{a, 0, "one", refused, false, false, 1, 1},
		{a, 1, "one", unknown, false, false, 1, 1},
		{a, 1, "one", accepted, true, false, 1, 2},
		{a, 1, "one", refused, false, true, 2, 2},
	} {
		again, over := c.saw(s.d, s.service, s.raw, time.Now(), s.got)
		if r := c.result(); again != s.again || over != s.over || r.Done != s.done || r.Let != s.let || r.Over != s.over {
			t.Errorf("after %s: again %v, over %v, %+v", s.got, again, over, r)
		}
	}
	c.begin("logout", 2, []*device{a})
	if c.forget(a); !c.now.over {
		t.Error("it waits for a device that is gone")
	}
}

// What is kept is bounded, whatever people press.
func TestBounds(t *testing.T) {
	var s story
	for range 10 * linesKept {
		s.say("%s", "something")
	}
	if lines, _ := s.told(); len(lines) != linesKept || lines[linesKept-1].N != 10*linesKept {
		t.Errorf("%d lines, the last %d", len(lines), lines[len(lines)-1].N)
	}
	w, _ := running(t)
	for range 2 * most {
		if _, err := w.act(t.Context(), "steal-cookie", target{Device: 1}); err != nil {
			break
		}
	}
	if n := len(w.state().Devices); n != most {
		t.Errorf("%d rows, want %d at most", n, most)
	}
	if _, err := w.act(t.Context(), "add", target{User: "alice"}); err == nil {
		t.Error("there is room for another device")
	}
	for _, d := range w.those(func(d *device) bool { return d.thief }) {
		if _, err := w.act(t.Context(), "remove", target{Device: d.id}); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.act(t.Context(), "add", target{User: "alice"}); err != nil {
		t.Error(err)
	}
}

// Each button has a word about why, and each policy of the page is one that the List takes.
func TestExplained(t *testing.T) {
	for name := range actions {
		if e := explanations[name]; e.title == "" || e.why == "" || e.docs == "" {
			t.Errorf("%s is not explained", name)
		}
	}
	if len(explanations) != len(actions) {
		t.Error("something is explained that is no button")
	}
	list, err := revoke.NewList(freshness)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range policies {
		if err := list.ValidatePolicy(p.policy); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}
