package fenced

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is built or run by a test passes; what is not is named, and says what to do.
func TestLooseEnds(t *testing.T) {
	const page = "docs/page.md"
	for name, c := range map[string]struct {
		text, test string
		want       string // of the error, or of the loose end; empty for none
	}{
		"go":                      {text: "```go\n_ = 1\n```\n"},
		"sh":                      {text: "```sh\necho a\n```\n```text\na\n```\n"},
		"console":                 {text: "```console\n$ echo a\na\n```\n"},
		"json":                    {text: "```json\n{\"a\": 1}\n```\n"},
		"a program":               {text: "```go\npackage main\n\nfunc main() { println(1) }\n```\n```text\n1\n```\n"},
		"commands of a clone":     {text: "```\ngo run ./examples/auth # sessions\n.ci/run\n```\n"},
		"claimed":                 {text: "```yaml\na: 1\n```\n", test: "// TestX reads page.md.\n//\n//blocks:run docs/page.md yaml\nfunc TestX(t *testing.T) {"},
		"claimed, two kinds":      {text: "```\na\n```\n```yaml\na: 1\n```\n", test: "// page.md\n//blocks:run docs/page.md - yaml\nfunc TestX(t *testing.T) {"},
		"claimed, two pages":      {text: "```yaml\na: 1\n```\n```nginx\na\n```\n", test: "// page.md\n//blocks:run docs/page.md nginx\n//blocks:run docs/page.md yaml\nfunc TestX(t *testing.T) {"},
		"no kind":                 {text: "```\nx\n```\n", want: "run by nothing"},
		"a command and more":      {text: "```\ngo run ./examples/auth\nrm x\n```\n", want: "run by nothing"},
		"another kind":            {text: "```yaml\nx: 1\n```\n", want: "//blocks:run"},
		"broken json":             {text: "```json\n{\"a\": }\n```\n", want: "is not JSON"},
		"text of nothing":         {text: "```text\nx\n```\n", want: "follows no block that prints it"},
		"text of a part":          {text: "```go\n_ = 1\n```\n```text\nx\n```\n", want: "follows no block that prints it"},
		"text of a clone":         {text: "```sh\ngo run ./x\n```\n```text\nx\n```\n", want: "follows no block that prints it"},
		"an inset fence":          {text: "- x\n  ```sh\n  true\n  ```\n", want: "no test sees such a block"},
		"a fence of tildes":       {text: "~~~\ntrue\n~~~\n", want: "no test sees such a block"},
		"a fence within":          {text: "```sh\ntrue\n```text\nx\n```\n", want: "within a block"},
		"no end":                  {text: "```sh\ntrue\n", want: "does not end"},
		"claimed by a non-test":   {text: "```yaml\na: 1\n```\n", test: "// page.md\n//blocks:run docs/page.md yaml\nfunc helper(t *testing.T) {", want: "of 1 comments"},
		"claimed, no kind":        {text: "```yaml\na: 1\n```\n", test: "// page.md\n//blocks:run docs/page.md\nfunc TestX(t *testing.T) {", want: "of 1 comments"},
		"claimed, and not read":   {text: "```yaml\na: 1\n```\n", test: "//blocks:run docs/page.md yaml\nfunc TestX(t *testing.T) {", want: "does not read"},
		"a claim of another kind": {text: "```yaml\na: 1\n```\n", test: "// page.md\n//blocks:run docs/page.md sh\nfunc TestX(t *testing.T) {", want: "which has none"},
		"a claim of another page": {text: "```yaml\na: 1\n```\n", test: "// other.md\n//blocks:run docs/other.md sh\nfunc TestX(t *testing.T) {", want: "which has none"},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{page: c.text, "x/x_test.go": "package x\n\n" + c.test} {
			path := filepath.Join(dir, filepath.FromSlash(file))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, err := Read(dir)
		var got []string
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.Contains(line, "see shown in internal/fenced") { // pages that are not in this directory
					got = append(got, line)
				}
			}
		}
		got = append(got, d.LooseEnds(d.Pages[page])...)
		if (len(got) == 0) != (c.want == "") || !strings.Contains(strings.Join(got, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The exceptions are of blocks that are there.
func TestShownIsThere(t *testing.T) {
	_, err := Read(filepath.Join("..", ".."))
	if err != nil {
		t.Error(err)
	}
}

// What differs from run to run is …, within a line; all else is as it is written.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"a (b) 12 ms\n", "a (b) … ms\n", true},
		{"a\nb\n", "…", true},
		{"", "…", true},
		{"", "", true},
		{"a\nb\n", "…\n", false},
		{"a ms\n", "a … ms\n", false},
		{"aXb\n", "a.b\n", false},
		{"a\nb\n", "a\n", false},
		{"a\n", "a\nb\n", false},
	} {
		if Matches(c.text, c.want) != c.ok {
			t.Errorf("%q matches %q: %t, want %t", c.text, c.want, !c.ok, c.ok)
		}
	}
}
