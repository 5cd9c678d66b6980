package browser_test

import (
	"bufio"
	"bytes"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

// startDemo builds and starts the program examples/demo, and returns the address of its page.
func startDemo(t *testing.T) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "demo")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./demo")
	build.Dir = filepath.Join("..", "..", "..", "examples")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd, temp := exec.Command(program, "-listen", "127.0.0.1:0"), t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ends with %v", err)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("it leaves %v (%v)", left, err)
		}
	})
	lines := bufio.NewScanner(stdout)
	for url == "" && lines.Scan() {
		if at, ok := strings.CutPrefix(lines.Text(), "page    "); ok {
			url = at
		}
	}
	if url == "" {
		t.Fatalf("the program does not say where its page is: %v", lines.Err())
	}
	go io.Copy(io.Discard, stdout)
	return url
}

// A demo is the page as somebody sees it.
type demo struct {
	t *testing.T
	*browser.Tab
}

// choose chooses a device by what stands in its row.
func (d demo) choose(user, label string) {
	d.t.Helper()
	d.Click(d.row(user, label) + " label")
	d.Shows("Act on " + user + "’s " + label)
}

// row is the selector of a device's row.
func (d demo) row(user, label string) string {
	d.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll('#devices tbody')].filter(b => b.querySelector('.user').innerText.startsWith(%s)).flatMap(b => [...b.querySelectorAll('tr[data-device]')]).find(r => r.querySelector('.name').innerText.toLowerCase() === %s)`,
		browser.Quote(user), browser.Quote(label))
	d.Wait(find)
	return `tr[data-device="` + browser.Eval[string](d.Tab, find+".dataset.device") + `"]`
}

// press presses a button and waits until the page says what became of it.
func (d demo) press(button, says string) {
	d.t.Helper()
	d.Click("[data-do=" + button + "]")
	d.said(says)
}

func (d demo) said(says string) {
	d.t.Helper()
	d.Wait("document.querySelector('#happened').innerText.includes(" + browser.Quote(says) + ")")
}

// policy chooses one, as somebody does who lets go of the list.
func (d demo) policy(service, policy, says string) {
	d.t.Helper()
	browser.Eval[bool](d.Tab, fmt.Sprintf("(e => { e.value = %s; e.dispatchEvent(new Event('change')) })(document.querySelector('#policy-%s')), true", browser.Quote(policy), service))
	d.said(says)
}

// answers waits until the row shows these answers of orders, billing and search.
func (d demo) answers(user, label string, want ...string) {
	d.t.Helper()
	d.Wait(fmt.Sprintf(`[...document.querySelectorAll(%s)].map(e => e.innerText).join('|') === %s`, browser.Quote(d.row(user, label)+" td .word"), browser.Quote(strings.Join(want, "|"))))
}

// stream waits until the row says so of its stream of events.
func (d demo) stream(user, label, says string) {
	d.t.Helper()
	d.Wait("document.querySelector(" + browser.Quote(d.row(user, label)+" .stream") + ").innerText.includes(" + browser.Quote(says) + ")")
}

// accepted waits until the row is accepted everywhere, refused until it is refused everywhere.
func (d demo) accepted(user, label string) {
	d.t.Helper()
	d.answers(user, label, "accepted", "accepted", "accepted")
}

func (d demo) refused(user, label string) {
	d.t.Helper()
	d.answers(user, label, "refused", "refused", "refused")
}

// card waits until a service's card shows all that.
func (d demo) card(service string, shows ...string) {
	d.t.Helper()
	for _, s := range shows {
		d.Wait("document.querySelector('#card-" + service + "').innerText.includes(" + browser.Quote(s) + ")")
	}
}

// judge looks at the page as it is, for people who hold a telephone or see little.
func (d demo) judge(what string) {
	d.t.Helper()
	for _, width := range []int64{360, 1600} {
		d.Viewport(width, 900)
		for _, dark := range []bool{true, false} {
			d.Dark(dark)
			for _, wrong := range [][]string{d.Overflow(), d.LowContrast(), d.Unlabelled()} {
				for _, w := range wrong {
					d.t.Errorf("%s, %d px, dark %v: %s", what, width, dark, w)
				}
			}
		}
	}
}

// The demo in a real browser: each button, and what the page then shows; wide and narrow, light and
// dark, with the keyboard alone.
func TestExampleDemo(t *testing.T) {
	url := startDemo(t)
	b := browser.Start(t, nil, browser.Loopback())
	d := demo{t, b.Profile().Tab()}
	d.Before(`window.wrong = []
		addEventListener('error', e => window.wrong.push(String(e.message)))
		addEventListener('unhandledrejection', e => window.wrong.push(String(e.reason)))
		addEventListener('securitypolicyviolation', e => window.wrong.push(e.violatedDirective + ' ' + e.blockedURI))
		const error = console.error; console.error = (...a) => { window.wrong.push(a.join(' ')); error(...a) }`)
	d.Viewport(1440, 900)
	d.Dark(false)
	d.Go(url)
	d.Shows("all 3 services fresh")
	for _, what := range []string{"main", "h1", "header", "footer"} {
		if n := browser.Eval[int](d.Tab, "document.querySelectorAll("+browser.Quote(what)+").length"); n != 1 {
			t.Errorf("%d of %s", n, what)
		}
	}
	for user, labels := range map[string][]string{"Alice": {"laptop", "phone", "tablet"}, "Bob": {"laptop", "phone"}, "Carol": {"laptop", "phone"}} {
		for _, label := range labels {
			d.accepted(user, label)
			d.stream(user, label, "stream open")
		}
	}
	d.Wait("document.querySelectorAll('#chart .dot').length >= 15 && document.querySelector('#chart').getAttribute('aria-label').includes('half of the refusals')")

	// What the user does.
	d.choose("Alice", "laptop")
	d.press("logout", "Alice’s laptop logged out")
	d.refused("Alice", "laptop")
	d.stream("Alice", "laptop", "stream ended, logged out")
	d.Wait("document.querySelector('#chase-title').innerText.includes('to the last of 3 refusals') && /^[\\d.]+ m?s$/.test(document.querySelector('#chase-figure').innerText)")
	d.Wait("document.querySelector('#chase-said').textContent.includes('refused everywhere')")
	d.accepted("Alice", "phone")
	d.stream("Alice", "phone", "stream open")
	d.press("logout", "log it in first") // a second time
	d.Shows("Not done")
	d.press("login", "Alice’s laptop logged in")
	d.accepted("Alice", "laptop")
	d.stream("Alice", "laptop", "stream open")
	d.press("add", "Alice’s watch logged in")
	d.accepted("Alice", "watch")
	d.press("others", "One event ended every session of Alice but the one on the laptop")
	d.refused("Alice", "phone")
	d.refused("Alice", "tablet")
	d.refused("Alice", "watch")
	d.accepted("Alice", "laptop")
	d.choose("Alice", "watch")
	d.press("remove", "is gone from the table")
	d.Wait("![...document.querySelectorAll('.name')].some(e => e.innerText === 'Watch')")
	d.choose("Bob", "phone")
	d.press("password", "The old password was tried and is refused")
	d.refused("Bob", "laptop")
	d.accepted("Bob", "phone")

	// What a thief does.
	d.choose("Alice", "laptop")
	d.press("steal-cookie", "nobody can tell a copy from the original")
	d.accepted("Alice", "thief with the laptop’s cookie")
	d.press("logout", "Alice’s laptop logged out")
	d.refused("Alice", "thief with the laptop’s cookie")
	d.refused("Alice", "laptop")
	d.choose("Bob", "phone")
	d.press("steal-refresh", "a thief presented the used one")
	d.refused("Bob", "phone")
	d.stream("Bob", "phone", "logged out")
	d.press("login", "Bob’s phone logged in")
	d.accepted("Bob", "phone")

	// What an administrator does.
	d.choose("Carol", "phone")
	d.press("ban", "Carol is banned")
	d.refused("Carol", "phone")
	d.refused("Carol", "laptop")
	d.Wait("[...document.querySelectorAll('#devices .user')].filter(e => e.innerText.includes('banned')).map(e => e.innerText).join().startsWith('Carol')")
	d.press("login", "the login is refused")
	d.press("lift", "Carol may log in again")
	d.press("login", "Carol’s phone logged in")
	d.accepted("Carol", "phone")
	d.choose("Carol", "laptop")
	d.press("login", "Carol’s laptop logged in")
	d.press("key", "The signing key was revoked")
	d.Wait("document.querySelector('#chase-title').innerText.startsWith('Key compromise: from the click')")
	d.accepted("Carol", "phone")
	d.accepted("Bob", "phone")
	d.refused("Alice", "thief with the laptop’s cookie")

	// Trouble of one service, and what it does by its policy.
	d.Click("#card-billing [data-do=cut]")
	d.said("billing is cut off from NATS")
	d.card("billing", "stale", "disconnected", "s ago")
	d.Shows("2 of 3 services fresh")
	d.answers("Carol", "phone", "accepted", "cannot know", "accepted")
	d.judge("with a service that cannot know")
	d.Viewport(1440, 900)
	d.policy("billing", "AllowYounger", "issued within the last minute")
	d.policy("billing", "MaxStaleness", "while its proof is younger")
	d.policy("billing", "Deny", "answers 503")
	d.answers("Carol", "phone", "accepted", "cannot know", "accepted")
	d.policy("billing", "InsecureAllow", "stay exposed")
	d.accepted("Carol", "phone")
	d.choose("Carol", "phone")
	d.press("logout", "Carol’s phone logged out")
	d.answers("Carol", "phone", "refused", "accepted", "refused")
	d.Wait("document.querySelector('#chase-title').innerText.includes('2 of 3 refused so far')")
	d.Click("#card-billing [data-do=mend]")
	d.said("billing can reach NATS again")
	d.card("billing", "fresh", "proven up to date")
	d.refused("Carol", "phone")
	d.policy("billing", "Deny", "answers 503")

	// Trouble with NATS.
	d.press("stop", "NATS is stopped")
	d.press("restart", "orders was restarted with an empty memory")
	for _, service := range []string{"orders", "billing", "search"} {
		d.card(service, map[bool]string{true: "syncing", false: "stale"}[service == "orders"])
	}
	d.Shows("0 of 3 services fresh")
	d.answers("Carol", "laptop", "cannot know", "cannot know", "cannot know")
	d.stream("Carol", "laptop", "stream waits")
	d.choose("Carol", "laptop")
	d.press("logout", "The services cannot be told now")
	d.press("start", "NATS runs again")
	d.Shows("all 3 services fresh")
	d.refused("Carol", "laptop")
	d.choose("Bob", "phone")
	d.press("logout", "Bob’s phone logged out")
	d.refused("Bob", "phone")
	d.press("rollback", "given back the stream as it was before the last revocation")
	d.Wait("/published \\d+ events? again/.test(document.querySelector('#nats-about').innerText)")
	d.Shows("all 3 services fresh")
	d.refused("Bob", "phone")
	d.press("fork", "its mirror was left as it was")
	d.Shows("running, mirror forked")
	d.card("search", "stale", "fork")
	d.press("remake", "The mirror was made anew")
	d.card("search", "fresh", "proven up to date")
	d.Shows("all 3 services fresh")

	d.Wait("[...document.querySelectorAll('#log li')].some(e => e.innerText.includes('billing is stale (disconnected)'))")
	d.Click("summary")
	d.Wait("document.querySelectorAll('#figures tbody tr').length === 10")
	d.judge("at the end")

	// The switch of light and dark, against what the system says.
	back := func() string { return browser.Eval[string](d.Tab, "getComputedStyle(document.body).backgroundColor") }
	light := back()
	d.Click("#theme")
	dark := back()
	d.Reload()
	d.Shows("all 3 services fresh")
	if light == dark || back() != dark {
		t.Errorf("the page is %s, by the switch %s, and after a reload %s", light, dark, back())
	}
	d.Click("#theme")
	if back() != light {
		t.Error("the switch does not switch back")
	}

	// With the keyboard alone: everything is reached, and a device is chosen and logged in.
	d.Viewport(1440, 900)
	for _, w := range d.Keyboard() {
		t.Error(w)
	}
	d.Reload()
	d.Shows("all 3 services fresh")
	focused := "document.activeElement"
	tabTo := func(selector string) {
		t.Helper()
		for range 40 {
			if browser.Eval[bool](d.Tab, focused+".matches("+browser.Quote(selector)+")") {
				return
			}
			d.Key(kb.Tab)
		}
		t.Fatalf("%s is not reached", selector)
	}
	d.Key(kb.Tab)
	tabTo("#devices input")
	d.Key(kb.ArrowDown)
	d.Shows("Act on Alice’s phone")
	tabTo("[data-do=login]")
	d.Key(" ")
	d.said("Alice’s phone logged in")
	d.accepted("Alice", "phone")
	if !browser.Eval[bool](d.Tab, focused+".dataset.do === 'login'") {
		t.Error("the focus is lost by pressing a button")
	}

	if wrong := browser.Eval[[]string](d.Tab, "window.wrong"); len(wrong) > 0 {
		t.Errorf("the browser says: %s", strings.Join(wrong, "; "))
	}
	d.screens()
}

// screens takes the pictures of the README: light and dark, and on a telephone.
func (d demo) screens() {
	if os.Getenv(browser.ScreensVariable) == "" {
		return
	}
	d.Go(startDemo(d.t)) // one without a history
	d.Shows("all 3 services fresh")
	d.choose("Bob", "phone")
	d.press("logout", "Bob’s phone logged out")
	d.choose("Alice", "tablet")
	d.press("steal-cookie", "nobody can tell a copy from the original")
	d.choose("Alice", "phone")
	d.press("others", "but the one on the phone")
	d.refused("Alice", "laptop")
	d.refused("Alice", "thief with the tablet’s cookie")
	d.stream("Alice", "tablet", "logged out")
	d.Wait("document.querySelectorAll('#figures tbody tr').length === 10")
	for _, c := range []struct {
		name          string
		dark          bool
		width, height int64
	}{{"demo-light", false, 1280, 1045}, {"demo-dark", true, 1280, 1045}, {"demo-narrow", false, 360, 800}, {"demo-whole", false, 1280, 0}} {
		d.Dark(c.dark)
		d.Viewport(c.width, 900)
		d.Screenshot(c.name)
		if c.height > 0 {
			crop(d.t, filepath.Join(os.Getenv(browser.ScreensVariable), c.name+".png"), int(c.height))
		}
	}
}

// crop leaves the top of a picture.
func crop(t *testing.T, file string, height int) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	top := image.NewRGBA(image.Rect(0, 0, whole.Bounds().Dx(), height))
	draw.Draw(top, top.Bounds(), whole, image.Point{}, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, top); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
