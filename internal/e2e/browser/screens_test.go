package browser_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/browser"
)

const goodPage = `<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Log in</title><style>
	body { font: 16px/1.5 sans-serif; margin: 1rem; color: #222; background: #fff }
	input, button { font: inherit; width: 100%%; box-sizing: border-box; padding: .5rem; border: 1px solid #555 }
	button { color: #fff; background: #14508c }
	:focus-visible { outline: 3px solid #b3261e; outline-offset: 2px }
	.quiet { color: rgb(0 0 0 / .7) }
	%s
</style><body><h1>Log in</h1><form method=post>
<p><label>Name <input name=name value=ada></label>
<p><label>Password <input type=password name=password placeholder="ten letters"></label>
<p><label><input type=radio name=how value=a checked> for a day</label> <label><input type=radio name=how value=b> for long</label>
<p><button>Log in</button></form>
<p class=quiet>Forgotten? <a href="/forgotten">Ask for a new one</a>. <button disabled>not yet</button></p>%s</body></html>`

// Each check passes a good page, and says what is wrong with one that is bad in one thing.
func TestScreenChecks(t *testing.T) {
	pages := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, goodPage, r.URL.Query().Get("style"), r.URL.Query().Get("more"))
	})
	b := browser.Start(t, map[string]http.Handler{"app.example": pages})
	tab := b.Profile().Tab()

	type check struct {
		name string
		run  func() []string
	}
	overflow, lowContrast := check{"overflow", tab.Overflow}, check{"contrast", tab.LowContrast}
	keyboard, unlabelled := check{"keyboard", tab.Keyboard}, check{"labels", tab.Unlabelled}
	all := []check{overflow, lowContrast, keyboard, unlabelled}
	for _, width := range []int64{360, 1200} {
		tab.Viewport(width, 800)
		tab.Go("https://app.example/")
		for _, c := range all {
			if wrong := c.run(); len(wrong) > 0 {
				t.Errorf("%s, at %d px, of a good page: %s", c.name, width, strings.Join(wrong, "; "))
			}
		}
	}
	tab.Go("https://app.example/?more=" + url.QueryEscape("<p><label>Where to begin <input autofocus></label>"))
	for _, c := range all {
		if wrong := c.run(); len(wrong) > 0 {
			t.Errorf("%s, of a good page that begins in its last field: %s", c.name, strings.Join(wrong, "; "))
		}
	}
	tab.Viewport(360, 800)
	for _, bad := range []struct {
		name, style, more string
		check             check
		says              string
	}{
		{"a wide table", "", "<table><tr><td style='width:500px;display:block' id=wide>x</table>", overflow, "id=wide"},
		{"a long word", "", "<p id=word>" + strings.Repeat("x", 200), overflow, "wide in a window of 360 px"},
		{"pale text", ".quiet { color: #999 }", "", lowContrast, "class=quiet"},
		{"text that is half transparent", ".quiet { color: rgb(0 0 0 / .4) }", "", lowContrast, "class=quiet"},
		{"text in what is half transparent", "form { opacity: .4 }", "", lowContrast, "the text of <label>"},
		{"a pale button", "button { background: #8ab4f8 }", "", lowContrast, "<button>"},
		{"a dark background of what is around it", ".quiet { background: #333 }", "", lowContrast, "class=quiet"},
		{"a pale placeholder", "::placeholder { color: #bbb }", "", lowContrast, "the placeholder of <input type=password"},
		{"a picture behind the text", ".quiet { background: linear-gradient(#fff, #000) }", "", lowContrast, "over a picture"},
		{"a button that the Tab key passes over", "", "<button tabindex=-1 id=over>x</button>", keyboard, "id=over> \"x\" is not reached"},
		{"what only a mouse can press", "", "<div onclick='1' id=mouse>x</div>", keyboard, "id=mouse> \"x\" is not reached"},
		{"a trap", "", "<button id=trap onkeydown='event.preventDefault()'>x</button><button id=behind>y</button>", keyboard, "id=behind> \"y\" is not reached"},
		{"an order of its own", "", "<button tabindex=1 id=first>x</button>", keyboard, "is reached after what follows it"},
		{"no outline", ":focus-visible { outline: none }", "", keyboard, "looks the same"},
		{"a pale outline", ":focus-visible { outline-color: #eee }", "", keyboard, "looks the same"},
		{"a field without a label", "", "<input id=bare>", unlabelled, "id=bare"},
		{"a button without a name", "", "<button id=empty></button>", unlabelled, "id=empty"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			tab.Go("https://app.example/?style=" + url.QueryEscape(bad.style) + "&more=" + url.QueryEscape(bad.more))
			if wrong := strings.Join(bad.check.run(), "; "); !strings.Contains(wrong, bad.says) {
				t.Errorf("%s says %q, want it to say %q", bad.check.name, wrong, bad.says)
			}
		})
	}
}
