package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// available are the packages that a block may name; blocks import nothing.
var available = map[string]string{
	"bus":      "github.com/hybridtoken/hybridtoken/bus",
	"embedded": "github.com/hybridtoken/hybridtoken/bus/embedded",
	"context":  "context",
	"errors":   "errors",
	"http":     "net/http",
	"fmt":      "fmt",
	"io":       "io",
	"json":     "encoding/json",
	"net":      "net",
	"netip":    "net/netip",
	"log":      "log",
	"nats":     "github.com/nats-io/nats.go",
	"natskv":   "github.com/hybridtoken/hybridtoken/refresh/natskv",
	"refresh":  "github.com/hybridtoken/hybridtoken/refresh",
	"slog":     "log/slog",
	"revoke":   "github.com/hybridtoken/hybridtoken/revoke",
	"time":     "time",
	"web":      "github.com/hybridtoken/hybridtoken/refresh/web",
	"token":    "github.com/hybridtoken/hybridtoken/token",
	"issue":    "github.com/hybridtoken/hybridtoken/token/issue",
}

// given are variables of earlier blocks, for those that name them and do not make them.
var given = []struct{ name, typ string }{
	{"member", "*bus.Member"}, {"issuer", "*issue.Issuer"}, {"list", "*revoke.List"}, {"nc", "*nats.Conn"}, {"before", "time.Time"}, {"recheck", "func(context.Context) error"},
	{"verifier", "*token.Verifier"}, {"keys", "token.KeySet"}, {"sessions", "*refresh.Manager"}, {"events", "chan string"}, {"secret", "[]byte"}, {"name", "string"}, {"modified", "time.Time"},
	{"content", "io.ReadSeeker"}, {"serve", "func(context.Context, net.Conn)"},
}

// TestReadmeCompiles builds every Go block of the documents that no other test runs, as the
// body of a function of this module that has what the prose presupposes.
func TestReadmeCompiles(t *testing.T) {
	blocks := 0
	all := documents(t)
	for page, list := range all.Pages {
		for _, b := range list {
			if b.Kind != "go" || !all.Free(b) {
				continue
			}
			blocks++
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(page), b.Line), func(t *testing.T) {
				if out, err := compile(t, b.Body, page, b.Line); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	if blocks < 6 {
		t.Fatalf("only %d Go blocks in the documents", blocks)
	}
}

// The twin: a block that does not compile is noticed.
func TestReadmeTestNotices(t *testing.T) {
	for name, block := range map[string]string{
		"unknown name":   "list, _ := revoke.NewLists(revoke.Config{})\n_ = list\n",
		"unknown field":  "_ = revoke.Config{Staleness: time.Second}\n",
		"unused result":  "claims, err := (*token.Verifier)(nil).Verify(ctx, raw)\n",
		"broken grammar": "if {\n",
	} {
		if _, err := compile(t, block, "README.md", 1); err == nil {
			t.Errorf("%s: compiles", name)
		}
	}
	if out, err := compile(t, "_ = revoke.Config{MaxStaleness: 15 * time.Second}\n", "README.md", 1); err != nil {
		t.Errorf("a good block does not compile: %v\n%s", err, out)
	}
}

// compile builds block as a package that is laid over this module's folder.
func compile(t *testing.T, block, doc string, line int) ([]byte, error) {
	t.Helper()
	params := ""
	for _, g := range given {
		if !regexp.MustCompile(`(?m)^\s*[^/\n]*\b` + g.name + `\b[^\n]*:=`).MatchString(block) {
			params += ", " + g.name + " " + g.typ
		}
	}
	var src strings.Builder
	whole := strings.HasPrefix(block, "package main\n")
	if whole { // a program
		fmt.Fprintf(&src, "//line %s:%d\n%s", filepath.Base(doc), line, block)
	} else {
		src.WriteString("package snippet\n\n")
	}
	for name, path := range available {
		if whole {
			break
		}
		// What the function's parameters need, and what the block names.
		if name == "context" || name == "http" || name == "issue" || regexp.MustCompile(`\b`+name+`\.`).MatchString(block+params) {
			fmt.Fprintf(&src, "import %s %q\n", name, path)
		}
	}
	if !whole {
		fmt.Fprintf(&src, "\nfunc _(ctx context.Context, mux *http.ServeMux, handler http.Handler, w http.ResponseWriter, r *http.Request, raw, sid string, login issue.Request%s) error {\n", params)
		fmt.Fprintf(&src, "//line %s:%d\n%s\nreturn nil\n}\n", filepath.Base(doc), line, block)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "snippet.go")
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "snippet", "snippet.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{file: []byte(src.String()), overlay: replace} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return exec.Command("go", "build", "-overlay", overlay, "-o", filepath.Join(dir, "built"), "./snippet").CombinedOutput()
}
