package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// ScreensVariable names the directory that [Tab.Screenshot] writes into. Empty: nothing is written.
const ScreensVariable = "HYBRIDTOKEN_SCREENS"

// A Tab is a page. Its methods fail the test where the browser does not do as told.
type Tab struct {
	t     testing.TB
	ctx   context.Context
	close func()

	mu    sync.Mutex
	bound []BoundEvent
}

func newTab(t testing.TB, ctx context.Context) *Tab {
	t.Helper()
	tab := &Tab{t: t, ctx: ctx, close: func() {}}
	slow := time.AfterFunc(Patience, func() { _ = chromedp.Cancel(ctx) })
	if err := chromedp.Do(ctx); !slow.Stop() || err != nil {
		t.Fatalf("no tab opened within %v: %v", Patience, err)
	}
	return tab
}

// Close closes the tab.
func (tab *Tab) Close() { tab.close() }

// run does one thing within [Patience].
func run[T any](tab *Tab, action chromedp.Action[T]) (T, error) {
	ctx, cancel := context.WithTimeout(tab.ctx, Patience)
	defer cancel()
	return chromedp.Run(ctx, action)
}

// must does one thing, which the test cannot go on without.
func must[T any](tab *Tab, what string, action chromedp.Action[T]) T {
	tab.t.Helper()
	v, err := run(tab, action)
	if err != nil {
		tab.t.Fatalf("%s: %v", what, err)
	}
	return v
}

// Go types an address and waits until the page is loaded. It returns the status of the answer
// at the end of all redirects, or 0 where there was no answer.
func (tab *Tab) Go(url string) int {
	tab.t.Helper()
	return status(must(tab, "going to "+url, chromedp.NavigateResponse(url)))
}

// Reload does that and returns the status.
func (tab *Tab) Reload() int {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, Patience)
	defer cancel()
	r, err := chromedp.RunResponse(ctx, chromedp.Reload())
	if err != nil {
		tab.t.Fatalf("reloading: %v", err)
	}
	return status(r)
}

func status(r *network.Response) int {
	if r == nil {
		return 0
	}
	return int(r.Status)
}

// Eval runs an expression in the page, waits for it if it is a promise, and returns its value.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return must(tab, "in the page: "+expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// Start runs an expression in the page and waits for nothing: what navigates away ends with
// the page that it runs in.
func (tab *Tab) Start(expression string) {
	tab.t.Helper()
	must(tab, "in the page: "+expression, chromedp.Evaluate[chromedp.Void]("setTimeout(() => {"+expression+"}, 0), 0"))
}

// Wait waits until the expression is true in the page, or in the one that comes after it.
func (tab *Tab) Wait(expression string) {
	tab.t.Helper()
	Eventually(tab.t, "in the page: "+expression, func() bool {
		ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
		defer cancel()
		v, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		return err == nil && v
	})
}

// Shows waits until the page shows the text.
func (tab *Tab) Shows(text string) {
	tab.t.Helper()
	tab.Wait("document.body && document.body.innerText.includes(" + Quote(text) + ")")
}

// At waits until the page has been loaded from that address.
func (tab *Tab) At(url string) {
	tab.t.Helper()
	tab.Wait("document.readyState === 'complete' && location.href === " + Quote(url))
}

// Text returns what the page shows.
func (tab *Tab) Text() string {
	tab.t.Helper()
	return Eval[string](tab, "document.body.innerText")
}

// Fill clicks into a field and writes text, as somebody who pastes it.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.Click(selector)
	must(tab, "writing into "+selector, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	}))
}

// Click clicks on the middle of an element with the mouse. It does not wait for what the click
// begins. It asks the page where the element is: chromedp's own selectors lose a page that comes
// out of the back-forward cache.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	find := "document.querySelector(" + Quote(selector) + ")"
	tab.Wait(find)
	at := Eval[struct{ X, Y float64 }](tab, `(e => {
		e.scrollIntoView({block: "center", behavior: "instant"})
		const r = e.getBoundingClientRect()
		return {X: r.x + r.width / 2, Y: r.y + r.height / 2}
	})(`+find+`)`)
	must(tab, "clicking "+selector, chromedp.MouseClickXY(at.X, at.Y))
}

// Key presses a key, given as in package kb of chromedp.
func (tab *Tab) Key(key string, opts ...chromedp.KeyOption) {
	tab.t.Helper()
	must(tab, "pressing a key", chromedp.KeyEvent(key, opts...))
}

// A Fetched is what a call of fetch came to in the page.
type Fetched struct {
	Status int // 0 where the page learns nothing: Failed says why, or Type is opaque
	Body   string
	Type   string // basic, cors, opaque, …
	Failed string
}

// Fetch calls fetch in the page, with options as JavaScript, such as {method: "POST"}.
func (tab *Tab) Fetch(url, options string) Fetched {
	tab.t.Helper()
	if options == "" {
		options = "{}"
	}
	return Eval[Fetched](tab, fmt.Sprintf(`fetch(%s, %s).then(
		async r => ({Status: r.status, Type: r.type, Body: await r.text(), Failed: ""}),
		e => ({Status: 0, Type: "", Body: "", Failed: String(e)}))`, Quote(url), options))
}

// Back presses the Back button, and waits until the page of that address is shown. It returns
// whether the page came from the back-forward cache as it had been left.
func (tab *Tab) Back(url string) (fromCache bool) {
	tab.t.Helper()
	tab.Start("history.back()")
	tab.At(url)
	return Eval[bool](tab, "performance.getEntriesByType('navigation')[0].type !== 'back_forward' && window.leftOnce === true")
}

// Leave goes to another address by the page itself, so that the page left may rest in the
// back-forward cache.
func (tab *Tab) Leave(url string) {
	tab.t.Helper()
	Eval[bool](tab, "window.leftOnce = true")
	tab.Start("location.href = " + Quote(url))
	tab.At(url)
}

// Before has every page that is loaded from now on run a script before its own.
func (tab *Tab) Before(script string) {
	tab.t.Helper()
	must(tab, "a script before the page's own", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
		return err
	}))
}

// Viewport sets the size of the page in CSS pixels.
func (tab *Tab) Viewport(width, height int64) {
	tab.t.Helper()
	must(tab, "setting the viewport", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
		return err
	}))
}

// Dark has the page shown as to somebody who likes dark pages, or light ones.
func (tab *Tab) Dark(dark bool) {
	tab.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	must(tab, "setting the colour scheme", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// Screenshot writes the whole page into NAME.png in the directory of [ScreensVariable], if that
// is set.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	dir := os.Getenv(ScreensVariable)
	if dir == "" {
		return
	}
	png := must(tab, "a screenshot", chromedp.FullScreenshot(100))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(name, "/", "-")+".png"), png, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}

// Quote returns s as a literal of JavaScript.
func Quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return string(b)
}
