// Package layout holds no code: its tests watch over what the packages of the root
// module may import.
package layout_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/hybridtoken/hybridtoken"
	root   = "../.."
)

// The arrows of the house point down only: refresh → token/issue → token → revoke, bus → revoke.
// Anyone who imports one package must not get the dependencies of another.
func TestArrowsPointDown(t *testing.T) {
	const (
		nats       = "github.com/nats-io/"
		jwx        = "github.com/lestrrat-go/jwx/"
		strictjson = module + "/internal/strictjson"
		natsconn   = module + "/internal/natsconn"
		records    = module + "/internal/recordstore"
		refusals   = module + "/internal/refusals"
		diskfile   = module + "/internal/diskfile"
		jsadmin    = module + "/internal/jsadmin"
		pause      = module + "/internal/pause"
		accepts    = module + "/token"
		issues     = module + "/token/issue"
		inside     = module + "/internal/inside"      // which imports nothing
		admit      = module + "/internal/admit"       // nor does this
		proofs     = module + "/internal/deviceproof" // nor this
		replica    = module + "/internal/replica"
		snapshot   = module + "/internal/snapshot" // which imports nothing
	)
	// What stands behind the two doors; a verifier does not see the second.
	accept := []string{module + "/revoke", module + "/token/internal/jose", module + "/token/internal/own", module + "/token/internal/placeholder", module + "/token/internal/shape", strictjson, refusals, inside, admit, proofs, replica, snapshot, diskfile, pause}
	issue := append(slices.Clone(accept), accepts, records, module+"/token/issue/internal/privatekey")
	sessions := append(slices.Clone(issue), issues)
	for _, c := range []struct {
		pkg      string
		wants    []string // prefixes that must be among the dependencies, so that the check sees any
		forbids  []string // prefixes that must not
		onlyOurs []string // the packages of this module that it may depend on, itself aside
	}{
		{"./revoke", []string{"github.com/bits-and-blooms/bloom/"}, []string{nats, jwx}, []string{inside, diskfile}},
		{"./internal/inside", nil, []string{module + "/revoke"}, nil},
		{"./internal/replica", []string{module + "/revoke"}, []string{nats, jwx}, []string{module + "/revoke", inside, snapshot, diskfile}},
		{"./revoke/revoketest", []string{module + "/revoke"}, []string{nats, jwx}, []string{module + "/revoke", inside, replica, snapshot, diskfile}},
		{"./bus", []string{nats}, []string{jwx}, []string{module + "/revoke", module + "/bus/internal/bridge", module + "/bus/internal/follow", module + "/bus/internal/publish", module + "/bus/internal/transport", module + "/bus/internal/stream", module + "/bus/internal/wire", strictjson, natsconn, jsadmin, pause, inside, replica, snapshot, diskfile}},
		{"./bus/rollcall", []string{nats, module + "/bus"}, []string{jwx}, []string{module + "/bus", module + "/revoke", module + "/bus/internal/bridge", module + "/bus/internal/follow", module + "/bus/internal/publish", module + "/bus/internal/transport", module + "/bus/internal/stream", module + "/bus/internal/wire", strictjson, natsconn, jsadmin, pause, inside, replica, snapshot, diskfile}},
		{"./token/tokentest", []string{jwx}, []string{nats}, sessions},
		{"./refresh", []string{jwx, issues}, []string{nats}, sessions},
		{"./refresh/natskv", []string{nats, module + "/refresh"}, nil, append(slices.Clone(sessions), module+"/refresh", natsconn, jsadmin)},
		{"./refresh/web", []string{module + "/refresh"}, []string{nats}, append(slices.Clone(sessions), module+"/refresh")},
		{"./refresh/storetest", []string{module + "/refresh"}, []string{nats}, append(slices.Clone(sessions), module+"/refresh")},
		{"./token", []string{jwx}, []string{nats, issues}, accept},
		{"./token/issue", []string{jwx, accepts}, []string{nats, module + "/refresh"}, issue},
		{"./token/idp", []string{accepts}, []string{nats, issues}, append(slices.Clone(accept), accepts)},
	} {
		t.Run(strings.TrimPrefix(c.pkg, "./"), func(t *testing.T) {
			deps := strings.Fields(goList(t, "-deps", c.pkg))
			self := module + strings.TrimPrefix(c.pkg, ".")
			for _, p := range append(c.wants, self) {
				if !slices.ContainsFunc(deps, hasPrefix(p)) {
					t.Errorf("%s does not depend on %s: does this test look at the right thing?", c.pkg, p)
				}
			}
			for _, p := range c.forbids {
				if i := slices.IndexFunc(deps, hasPrefix(p)); i >= 0 {
					t.Errorf("%s depends on %s", c.pkg, deps[i])
				}
			}
			for _, d := range deps {
				if (d == module || strings.HasPrefix(d, module+"/")) && d != self && !slices.Contains(c.onlyOurs, d) {
					t.Errorf("%s depends on %s", c.pkg, d)
				}
			}
		})
	}
}

// A program that only verifies links nothing that reads a private key: neither the door
// that issues nor what parses PEM, PKCS #8 and private JWKs.
func TestVerifiersParseNoPrivateKeys(t *testing.T) {
	parses := func(dir string) bool {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v", dir, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") && privateKeyParsers.Match(text) {
				return true
			}
		}
		return false
	}
	if !parses("token/issue/internal/privatekey") {
		t.Error("nothing parses a private key: does this test look at the right thing?")
	}
	for _, pkg := range strings.Fields(goList(t, "-deps", "./token", "./token/idp")) {
		dir, ours := strings.CutPrefix(pkg, module+"/")
		switch {
		case !ours:
		case dir == "token/issue" || strings.HasPrefix(dir, "token/issue/"):
			t.Errorf("a verifier depends on %s", dir)
		case parses(dir):
			t.Errorf("a verifier depends on %s, which parses private keys", dir)
		}
	}
}

var privateKeyParsers = regexp.MustCompile(`x509\.Parse(PKCS8PrivateKey|PKCS1PrivateKey|ECPrivateKey)|\bpem\.Decode\(|"pkcs8"`)

// imports is which packages of ours each package may import itself, its tests aside. A new
// arrow, or a new package, is a decision, and stands here.
var imports = map[string]string{
	"bus":                             "bus/internal/bridge bus/internal/follow bus/internal/publish bus/internal/stream bus/internal/transport bus/internal/wire internal/diskfile internal/jsadmin internal/pause internal/replica revoke",
	"bus/embedded":                    "bus internal/diskfile revoke",
	"bus/internal/bridge":             "revoke",
	"bus/internal/follow":             "bus/internal/transport bus/internal/wire internal/jsadmin internal/pause internal/replica internal/snapshot revoke",
	"bus/internal/publish":            "bus/internal/bridge bus/internal/stream bus/internal/transport bus/internal/wire internal/diskfile internal/jsadmin internal/pause internal/replica internal/strictjson revoke",
	"bus/internal/scripted":           "bus/internal/stream bus/internal/wire",
	"bus/internal/snapshots":          "bus/internal/transport internal/jsadmin internal/pause internal/strictjson",
	"bus/internal/stream":             "bus/internal/wire internal/jsadmin revoke",
	"bus/internal/transport":          "bus/internal/stream internal/jsadmin internal/natsconn internal/pause internal/replica revoke",
	"bus/internal/wire":               "internal/replica internal/strictjson revoke",
	"bus/rollcall":                    "bus bus/internal/bridge bus/internal/wire revoke",
	"internal/admit":                  "",
	"internal/deviceproof":            "",
	"internal/diskfile":               "",
	"internal/fenced":                 "",
	"internal/gate":                   "",
	"internal/inside":                 "",
	"internal/jsadmin":                "",
	"internal/layout":                 "",
	"internal/natsconn":               "",
	"internal/pause":                  "",
	"internal/printtest":              "",
	"internal/recordstore":            "revoke",
	"internal/refusals":               "",
	"internal/replica":                "internal/inside internal/snapshot revoke",
	"internal/replica/tape":           "internal/replica revoke",
	"internal/snapshot":               "",
	"internal/strictjson":             "",
	"refresh":                         "internal/admit internal/deviceproof internal/pause internal/recordstore internal/replica internal/strictjson revoke token token/issue",
	"refresh/natskv":                  "internal/jsadmin internal/natsconn internal/pause internal/recordstore refresh",
	"refresh/storetest":               "internal/recordstore refresh",
	"refresh/web":                     "internal/admit refresh revoke token",
	"revoke":                          "internal/diskfile internal/inside",
	"revoke/revoketest":               "internal/replica revoke",
	"token":                           "internal/admit internal/deviceproof internal/pause internal/refusals internal/replica internal/strictjson revoke token/internal/jose token/internal/own token/internal/placeholder token/internal/shape",
	"token/grpctoken":                 "internal/refusals token",
	"token/idp":                       "token",
	"token/internal/forge":            "revoke token token/issue",
	"token/internal/jose":             "",
	"token/internal/own":              "",
	"token/internal/placeholder":      "",
	"token/internal/shape":            "internal/replica revoke",
	"token/issue":                     "internal/diskfile internal/pause internal/recordstore internal/replica internal/strictjson revoke token token/internal/jose token/internal/own token/internal/placeholder token/internal/shape token/issue/internal/privatekey",
	"token/issue/internal/privatekey": "internal/strictjson token/internal/jose",
	"token/tokentest":                 "revoke token token/issue",
}

func TestWhoImportsWhat(t *testing.T) {
	format := []string{"-f", `{{.ImportPath}} {{join .Imports " "}}`}
	lines := goList(t, append(format, "./...")...)
	for _, own := range []string{"bus/embedded", "token/grpctoken"} { // modules of their own that are no programs
		lines += goListIn(t, root+"/"+own, append(format, "./...")...)
	}
	found := map[string]bool{}
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		pkg := strings.TrimPrefix(f[0], module+"/")
		found[pkg] = true
		may, ok := imports[pkg]
		if !ok {
			t.Errorf("%s is a new package: enter what it may import", pkg)
		}
		for _, imported := range f[1:] {
			if ours, is := strings.CutPrefix(imported, module+"/"); is && !slices.Contains(strings.Fields(may), ours) {
				t.Errorf("%s imports %s, which is not entered", pkg, ours)
			}
		}
	}
	for pkg := range imports {
		if !found[pkg] {
			t.Errorf("there is no package %s", pkg)
		}
	}
}

// No jwx type may cross the border of token/internal/jose, so that a later major
// version is an edit of that package alone. Tests count too.
func TestOnlyJOSEImportsJWX(t *testing.T) {
	const wall = module + "/token/internal/jose"
	importers := 0
	for line := range strings.Lines(goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./...")) {
		f := strings.Fields(line)
		if !slices.ContainsFunc(f[1:], hasPrefix("github.com/lestrrat-go/")) {
			continue
		}
		importers++
		if f[0] != wall {
			t.Errorf("%s imports jwx; only %s may", f[0], wall)
		}
	}
	if importers == 0 {
		t.Error("nobody imports jwx: does this test look at the right thing?")
	}
}

// The server stays out of an importer's module graph.
func TestRootModuleIsShort(t *testing.T) {
	b, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "module "+module+"\n") {
		t.Fatal("go.mod is not the root module's")
	}
	for _, banned := range []string{"nats-io/nats-server", "\nreplace", "\nexclude", "go.uber.org/goleak"} {
		if strings.Contains(string(b), banned) {
			t.Errorf("the root go.mod holds %q", strings.TrimSpace(banned))
		}
	}
	cmd := exec.Command("go", "list", "-m", "all")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m all: %v", err)
	}
	if strings.Contains(string(out), "nats-server") {
		t.Error("nats-server is in the root module's graph")
	}
}

// goList runs go list for the root module alone, as an importer sees it.
func goList(t *testing.T, args ...string) string {
	t.Helper()
	return goListIn(t, root, args...)
}

func goListIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func hasPrefix(p string) func(string) bool {
	return func(s string) bool { return strings.HasPrefix(s, p) }
}
