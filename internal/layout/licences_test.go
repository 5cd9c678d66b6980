package layout_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// installed is what examples and tests install, by the part of docs/licences.md that lists it: the
// first columns of its rows, all but a licence that no file tells.
type installed map[string]map[string]bool

func (i installed) add(part string, columns ...string) {
	if i[part] == nil {
		i[part] = map[string]bool{}
	}
	i[part][strings.Join(columns, " | ")] = true
}

// docs/licences.md lists what examples and tests install, and nothing else; nothing is vendored.
func TestLicences(t *testing.T) {
	files := filesThatInstall(t)
	want, problems := readInstalled(files)
	for _, p := range problems {
		t.Error(p)
	}
	for _, p := range compareLicences(files["docs/licences.md"], want) {
		t.Error(p)
	}
	for part, least := range map[string]int{"npm": 30, "apt": 8, "Go tools": 2, "Go modules": 30} {
		if len(want[part]) < least {
			t.Errorf("only %d found for the part %s of docs/licences.md", len(want[part]), part)
		}
	}
}

// The twins: what is installed and not listed is noticed, and the other way round.
func TestLicencesNotices(t *testing.T) {
	good := map[string]string{
		"docs/licences.md": "## npm\n\n| a | 1.0.0, 2.0.0 | MIT |\n\n## apt\n\n| gcc | GPL |\n| nodejs | MIT |\n\n## Go tools\n\n| example.com/tool | v1.0.0 | MIT |\n| github.com/a/b | v1.0.0 | MIT |\n\n## Go modules\n\n| example.com/m | v1.0.0 | MIT |\n",
		".ci/run":          "staticcheck=example.com/tool/cmd/tool@v1.0.0\nfor program in node; do\n\tapt-get install -q -y --no-install-recommends ${program/#node/nodejs}\napt-get update && apt-get install -q -y --no-install-recommends gcc\n\tgo install github.com/a/b/c@v1.0.0\n",
		"go.mod":           "module x\n\nrequire example.com/m v1.0.0\n",
		"a/package-lock.json": `{"packages": {"": {}, "node_modules/a": {"version": "1.0.0", "license": "MIT"},
			"node_modules/b/node_modules/a": {"version": "2.0.0", "license": "MIT"}}}`,
	}
	check := func(files map[string]string) []string {
		want, problems := readInstalled(files)
		return append(problems, compareLicences(files["docs/licences.md"], want)...)
	}
	if p := check(good); p != nil {
		t.Fatalf("the good one: %q", p)
	}
	for name, c := range map[string]struct{ file, from, to, says string }{
		"a package that is not listed":    {"a/package-lock.json", "node_modules/a", "node_modules/c", "| c | 1.0.0 | MIT |"},
		"another version":                 {"a/package-lock.json", `"1.0.0"`, `"1.0.1"`, "1.0.1"},
		"another licence":                 {"a/package-lock.json", `"1.0.0", "license": "MIT"`, `"1.0.0", "license": "ISC"`, "ISC"},
		"no licence":                      {"a/package-lock.json", `"1.0.0", "license": "MIT"`, `"1.0.0"`, "tells no licence"},
		"an address":                      {"a/package-lock.json", `"1.0.0"`, `"1.0.0", "resolved": "x"`, "resolved"},
		"another program":                 {".ci/run", "in node", "in node dig", "| dig |"},
		"another package of apt's":        {".ci/run", "gcc", "gcc make", "| make |"},
		"another tool":                    {".ci/run", "tool@v1.0.0", "tool@v1.0.1", "| example.com/tool | v1.0.1 |"},
		"a command that is installed":     {".ci/run", "install github.com/a/b/c@", "install github.com/a/x/c@", "| github.com/a/x | v1.0.0 |"},
		"a command of no known module":    {".ci/run", "install github.com/a/b/c@", "install example.org/c@", "of which module is example.org/c?"},
		"another version of a module":     {"go.mod", "v1.0.0", "v1.1.0", "| example.com/m | v1.1.0 |"},
		"a row that is not needed":        {"docs/licences.md", "| gcc | GPL |", "| gcc | GPL |\n| make | GPL |", "nothing installs"},
		"a row without a licence":         {"docs/licences.md", "| gcc | GPL |", "| gcc |  |", "| gcc |"},
		"a vendored module":               {"vendor/modules.txt", "", "# x", "vendor"},
		"a lock file that cannot be read": {"a/package-lock.json", "{", "", "package-lock.json"},
	} {
		files := maps.Clone(good)
		if c.from == "" {
			files[c.file] = c.to
		} else {
			files[c.file] = strings.Replace(files[c.file], c.from, c.to, 1)
		}
		if p := check(files); !strings.Contains(strings.Join(p, "\n"), c.says) {
			t.Errorf("%s: %q", name, p)
		}
	}
}

// filesThatInstall reads the files that say what is installed.
func filesThatInstall(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch name = filepath.ToSlash(name); {
		case name == "docs/licences.md", name == ".ci/run", d.Name() == "go.mod", d.Name() == "package-lock.json", strings.Contains("/"+name, "/vendor/"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files[name] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var (
	required  = regexp.MustCompile(`(?m)^(?:require )?\t?([a-z0-9.-]+\.[a-z]+/\S+) (v\S+)`)
	aptLine   = regexp.MustCompile(`apt-get install -q -y --no-install-recommends ([^\n]+)`)
	aptLoop   = regexp.MustCompile(`for program in ([^;\n]+); do`)
	toolLine  = regexp.MustCompile(`(?m)^staticcheck=(\S+)/cmd/\S+@(v\S+)$`)
	goInstall = regexp.MustCompile(`\bgo install (\S+)@(\S+)`)
	onGitHub  = regexp.MustCompile(`^github\.com/[^/]+/[^/]+`)
	lastOfKey = regexp.MustCompile(`^.*node_modules/`)
)

func readInstalled(files map[string]string) (installed, []string) {
	found := installed{}
	var problems []string
	versions := map[string]map[string]bool{} // of npm packages with a licence, and of Go modules
	add := func(key, version string) {
		if versions[key] == nil {
			versions[key] = map[string]bool{}
		}
		versions[key][version] = true
	}
	for name, text := range files {
		switch {
		case strings.Contains("/"+name, "/vendor/"):
			problems = append(problems, name+": nothing is vendored")
		case strings.HasSuffix(name, "package-lock.json"):
			if strings.Contains(text, `"resolved"`) {
				problems = append(problems, name+` has "resolved": a lock file records no addresses`)
			}
			var lock struct {
				Packages map[string]struct{ Version, License string }
			}
			if err := json.Unmarshal([]byte(text), &lock); err != nil {
				problems = append(problems, name+": "+err.Error())
			}
			for key, p := range lock.Packages {
				if key == "" {
					continue
				}
				if p.License == "" {
					problems = append(problems, name+" tells no licence of "+key)
				}
				add("npm\x00"+lastOfKey.ReplaceAllString(key, "")+"\x00"+p.License, p.Version)
			}
		case strings.HasSuffix(name, "go.mod"):
			for _, m := range required.FindAllStringSubmatch(text, -1) {
				if !strings.HasPrefix(m[1], "github.com/hybridtoken/") {
					add("Go modules\x00"+m[1]+"\x00", m[2])
				}
			}
		case name == ".ci/run":
			for _, m := range aptLine.FindAllStringSubmatch(text, -1) {
				for p := range strings.FieldsSeq(m[1]) {
					if !strings.HasPrefix(p, "$") {
						found.add("apt", p)
					}
				}
			}
			for _, m := range aptLoop.FindAllStringSubmatch(text, -1) {
				for p := range strings.FieldsSeq(m[1]) {
					if p == "node" {
						p = "nodejs" // as the script says it
					}
					found.add("apt", p)
				}
			}
			for _, m := range toolLine.FindAllStringSubmatch(text, -1) {
				found.add("Go tools", m[1], m[2])
			}
			for _, m := range goInstall.FindAllStringSubmatch(text, -1) {
				module := onGitHub.FindString(m[1])
				if module == "" {
					problems = append(problems, name+": of which module is "+m[1]+"?")
					continue
				}
				found.add("Go tools", module, m[2])
			}
		}
	}
	for key, all := range versions {
		k := strings.Split(key, "\x00")
		columns := []string{k[1], strings.Join(slices.Sorted(maps.Keys(all)), ", ")}
		if k[2] != "" {
			columns = append(columns, k[2])
		}
		found.add(k[0], columns...)
	}
	return found, problems
}

// compareLicences tells what page lacks and has too much.
func compareLicences(page string, want installed) (problems []string) {
	for part, rows := range want {
		_, text, _ := strings.Cut(page, "\n## "+part+"\n")
		if strings.HasPrefix(page, "## "+part+"\n") {
			text = page
		}
		text, _, _ = strings.Cut(strings.TrimPrefix(text, "## "+part+"\n"), "\n## ")
		has := map[string]bool{}
		for line := range strings.Lines(text) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			if len(cells) < 2 || cells[len(cells)-1] == "licence" || strings.HasPrefix(cells[0], "-") || cells[len(cells)-1] == "" {
				continue
			}
			if part != "npm" { // whose files tell the licence
				cells = cells[:len(cells)-1]
			}
			has[strings.Join(cells, " | ")] = true
		}
		for row := range rows {
			if !has[row] {
				problems = append(problems, "docs/licences.md, "+part+", lacks a row that begins with | "+row+" |: enter it, with its licence")
			}
		}
		for row := range has {
			if !rows[row] {
				problems = append(problems, "docs/licences.md, "+part+", lists "+row+", which nothing installs in that version")
			}
		}
	}
	slices.Sort(problems)
	return problems
}
