package browser

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// Patience is how long each wait of this package goes on before the test fails. It judges
// no machine: what is waited for takes milliseconds on a quiet one.
const Patience = time.Minute

// A Browser is a running Chromium and the servers that it finds under their names.
type Browser struct {
	*Servers
	t   testing.TB
	ctx context.Context
}

// An Option changes how the browser is started.
type Option func(*options)

type options struct {
	features, disabled []string
}

// Features switches features of Chromium on.
func Features(names ...string) Option {
	return func(o *options) { o.features = append(o.features, names...) }
}

// Without switches features of Chromium off.
func Without(names ...string) Option {
	return func(o *options) { o.disabled = append(o.disabled, names...) }
}

// browsers counts those that this process has started, so that each carries a mark of its own.
var browsers atomic.Int64

// Start starts a browser for this test, and a server for each host, that answers
// https://HOST/. The browser knows no other names and reaches no network.
func Start(t testing.TB, hosts map[string]http.Handler, opts ...Option) *Browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		gate.Skip(t, "no Chromium is installed")
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	b := &Browser{Servers: serve(t, hosts), t: t}

	mark := fmt.Sprintf("%s=%d.%d", markVariable, os.Getpid(), browsers.Add(1))
	var said output
	flags := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.Env(mark), chromedp.CombinedOutput(&said),
		chromedp.Headless, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("password-store", "basic"),
		// One tab in front of another is no reason to let the other sleep.
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("host-resolver-rules", b.resolverRules()),
		chromedp.Flag("ignore-certificate-errors-spki-list", b.spki),
	}
	if len(o.features) > 0 {
		flags = append(flags, chromedp.Flag("enable-features", strings.Join(o.features, ",")))
	}
	if len(o.disabled) > 0 {
		flags = append(flags, chromedp.Flag("disable-features", strings.Join(o.disabled, ",")))
	}
	allocator, closeAllocator := chromedp.NewExecAllocator(context.Background(), flags...)
	ctx, closeBrowser := chromedp.NewContext(allocator, chromedp.WithBrowserOption(
		// What the browser says that the library does not know is no failure.
		chromedp.WithBrowserErrorf(func(string, ...any) {})))
	b.ctx = ctx
	t.Cleanup(func() {
		closeBrowser()
		closeAllocator()
		allGone(t, mark)
	})
	// The browser lives as long as the context of the first call, which so has no deadline.
	slow := time.AfterFunc(Patience, closeBrowser)
	err := chromedp.Do(ctx)
	if !slow.Stop() || err != nil {
		t.Fatalf("Chromium did not start within %v: %v\n%s", Patience, err, &said)
	}
	return b
}

// An output keeps the last of what the browser printed.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if over := len(o.text) - 4096; over > 0 {
		o.text = append([]byte(nil), o.text[over:]...)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.ToValidUTF8(o.text, nil))
}

// A Profile is one person's browser: it shares no cookies and no storage with others.
type Profile struct {
	b      *Browser
	window *Tab // keeps the profile alive
	ctx    context.Context
}

// Profile makes a new one, which ends with the test.
func (b *Browser) Profile() *Profile {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	b.t.Cleanup(cancel)
	p := &Profile{b: b, ctx: ctx}
	p.window = newTab(b.t, ctx)
	return p
}

// Tab opens a tab on an empty page. It is closed with the test, or by [Tab.Close].
func (p *Profile) Tab() *Tab {
	p.b.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.b.t.Cleanup(cancel)
	tab := newTab(p.b.t, ctx)
	tab.close = cancel
	return tab
}

// A Cookie is what a profile holds.
type Cookie struct {
	Name, Value, Domain, Path string
	Secure, HTTPOnly          bool
	SameSite                  string // Lax, Strict, None, or empty
}

// Cookies returns all that the profile holds, of all hosts. Values are secrets: tests compare
// them and do not print them.
func (p *Profile) Cookies() []Cookie {
	p.b.t.Helper()
	got, err := chromedp.CallBrowser(p.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID})
	if err != nil {
		p.b.t.Fatalf("reading the cookies: %v", err)
	}
	var all []Cookie
	for _, c := range got.Cookies {
		all = append(all, Cookie{c.Name, c.Value, c.Domain, c.Path, c.Secure, c.HTTPOnly, string(c.SameSite)})
	}
	return all
}

// Cookie returns the profile's cookie of that name for that host, and whether there is one.
func (p *Profile) Cookie(host, name string) (Cookie, bool) {
	p.b.t.Helper()
	for _, c := range p.Cookies() {
		if c.Name == name && strings.TrimPrefix(c.Domain, ".") == host {
			return c, true
		}
	}
	return Cookie{}, false
}

// Eventually waits until the condition holds, and asks again and again. What it waits for is
// said in a failure.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for this: %s", Patience, what)
		}
	}
}
