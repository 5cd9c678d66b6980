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
	reach              string // more rules for where hosts are found
}

// Features switches features of Chromium on.
func Features(names ...string) Option {
	return func(o *options) { o.features = append(o.features, names...) }
}

// Without switches features of Chromium off.
func Without(names ...string) Option {
	return func(o *options) { o.disabled = append(o.disabled, names...) }
}

// Loopback lets the browser reach what serves http on 127.0.0.1, beside the hosts of [Start].
func Loopback() Option {
	return func(o *options) { o.reach = ",EXCLUDE 127.0.0.1" }
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
		chromedp.Flag("host-resolver-rules", b.resolverRules()+o.reach),
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
