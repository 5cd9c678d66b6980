package browser_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// An example is the running program examples/auth.
type example struct {
	cmd          *exec.Cmd
	shop, orders string // URLs
}

// startExample starts the program with its data in a directory.
func startExample(t *testing.T, program, data, shop string) *example {
	t.Helper()
	e := &example{cmd: exec.Command(program, "-data", data, "-shop", shop, "-orders", "127.0.0.1:0")}
	stdout, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.kill)
	lines := bufio.NewScanner(stdout)
	for e.orders == "" && lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "shop    "); ok {
			e.shop = url
		}
		if url, ok := strings.CutPrefix(lines.Text(), "orders  "); ok {
			e.orders = url
		}
	}
	if e.orders == "" {
		t.Fatalf("the program does not say where it serves: %v", lines.Err())
	}
	go io.Copy(io.Discard, stdout)
	return e
}

func (e *example) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// The example of sessions in a browser, as people use it: on a laptop and a telephone, with the
// keyboard alone, by day and by night, and over a crash of the server. It serves http on the
// loopback address, where browsers take cookies for https only.
func TestExampleAuth(t *testing.T) {
	program := filepath.Join(t.TempDir(), "auth")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./auth")
	build.Dir = filepath.Join("..", "..", "..", "examples")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data := t.TempDir()
	e := startExample(t, program, data, "127.0.0.1:0")
	b := browser.Start(t, nil, browser.Loopback())
	own, other := b.Profile(), b.Profile()
	laptop, phone := own.Tab(), other.Tab()

	// looks judges the page as it is, and takes its picture, in windows wide and narrow, light and dark.
	looks := func(name string) {
		t.Helper()
		for _, width := range []int64{1200, 360} {
			laptop.Viewport(width, 740)
			for _, dark := range []bool{false, true} {
				laptop.Dark(dark)
				for _, wrong := range [][]string{laptop.Overflow(), laptop.LowContrast(), laptop.Unlabelled()} {
					for _, w := range wrong {
						t.Errorf("%s, %d px, dark %v: %s", name, width, dark, w)
					}
				}
				laptop.Screenshot(fmt.Sprintf("auth-%s-%d-%s", name, width, map[bool]string{false: "light", true: "dark"}[dark]))
			}
			for _, w := range laptop.Keyboard() {
				t.Errorf("%s, %d px: %s", name, width, w)
			}
		}
		laptop.Viewport(1200, 740)
		laptop.Dark(false)
		for _, what := range []string{"main", "h1", "header"} {
			if n := browser.Eval[int](laptop, "document.querySelectorAll("+browser.Quote(what)+").length"); n != 1 {
				t.Errorf("%s: %d of %s", name, n, what)
			}
		}
	}
	logIn := func(tab *browser.Tab, password string) {
		t.Helper()
		tab.Fill("input[name=name]", "alice")
		tab.Fill("input[name=password]", password)
		tab.Click("main button")
	}

	laptop.Go(e.shop + "/devices")
	laptop.At(e.shop + "/login?return_to=%2Fdevices")
	looks("login")
	logIn(laptop, "wonder")
	laptop.Shows("do not go together")
	looks("login-wrong")
	browser.Eval[int](laptop, "document.querySelector('input[name=name]').value = '', 0")
	logIn(laptop, "wonderland")
	laptop.At(e.shop + "/devices")
	laptop.Shows("This device")
	for _, c := range own.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-Http-") || !c.Secure || !c.HTTPOnly {
			t.Errorf("the browser has a cookie %s, Secure %v, HttpOnly %v", c.Name, c.Secure, c.HTTPOnly)
		}
	}
	phone.Go(e.shop + "/")
	logIn(phone, "wonderland")
	phone.Shows("Storm lantern")

	// One device is logged out by the other, which lists it.
	laptop.Reload()
	looks("devices")
	laptop.Click("main li button")
	laptop.At(e.shop + "/devices?said=device")
	looks("device-ended")
	phone.Reload()
	phone.At(e.shop + "/login")
	logIn(phone, "wonderland")
	phone.Shows("Storm lantern")
	laptop.Go(e.shop + "/devices")
	laptop.Click("button.danger")
	laptop.At(e.shop + "/devices?said=others")
	phone.Reload()
	phone.Shows("Log in")
	logIn(phone, "wonderland")
	phone.Shows("Storm lantern")

	// The server dies, and another goes on where it was.
	laptop.Go(e.shop + "/")
	laptop.Shows("Storm lantern")
	looks("orders")
	e.kill()
	e = startExample(t, program, data, strings.TrimPrefix(e.shop, "http://"))
	laptop.Reload()
	laptop.Shows("Storm lantern")

	laptop.Click("a[href='/password']")
	laptop.At(e.shop + "/password")
	looks("password")
	laptop.Fill("#current", "wonder")
	laptop.Fill("#new", "looking glass")
	laptop.Click("main button")
	laptop.Shows("That is not your current password")
	looks("password-wrong")
	laptop.Fill("#current", "wonderland")
	laptop.Fill("#new", "looking glass")
	laptop.Click("main button")
	laptop.At(e.shop + "/devices?said=password")
	looks("password-changed")
	phone.Reload()
	phone.Shows("Log in")
	logIn(phone, "wonderland")
	phone.Shows("do not go together")

	// After the logout the Back button shows nothing of it.
	laptop.Go(e.shop + "/")
	laptop.Shows("Storm lantern")
	laptop.Click("header button")
	laptop.At(e.shop + "/login?said=out")
	looks("logged-out")
	if n := len(own.Cookies()); n != 0 {
		t.Errorf("%d cookies are left", n)
	}
	laptop.Start("history.back()")
	laptop.At(e.shop + "/login")
	if text := laptop.Text(); strings.Contains(text, "lantern, brass") || !regexp.MustCompile(`(?m)^Log in$`).MatchString(text) {
		t.Errorf("the Back button shows\n%s", text)
	}
}
