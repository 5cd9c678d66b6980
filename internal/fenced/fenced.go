// Package fenced finds the blocks between fences in the documents of this repository, and which
// test builds or runs each. internal/layout holds that one does; the tests in examples run what
// no other test does.
package fenced

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Block is what stands between two fences of a document.
type Block struct {
	Page string // from the top of the repository
	Line int    // of its first line
	Kind string // what the fence says
	Body string
}

func (b Block) String() string {
	first, _, _ := strings.Cut(b.Body, "\n")
	return fmt.Sprintf("%s:%d: the block ```%s that begins with %q", b.Page, b.Line, b.Kind, first)
}

// Program reports whether the block is a whole program.
func (b Block) Program() bool { return b.Kind == "go" && strings.HasPrefix(b.Body, "package main\n") }

// Commands returns the commands of a block that holds nothing but what one types into a clone
// of the repository, without the comments behind them; of another block none.
func (b Block) Commands() (list []string) {
	if b.Kind != "" && b.Kind != "sh" {
		return nil
	}
	for line := range strings.Lines(b.Body) {
		command, _, _ := strings.Cut(line, " #")
		command = strings.TrimSpace(command)
		if !strings.HasPrefix(command, "go run ./") && command != "go test work" && !strings.HasPrefix(command, ".ci/") {
			return nil
		}
		list = append(list, command)
	}
	return list
}

// shown are the blocks that nothing runs, by how they begin, and why.
var shown = []struct{ page, begins, why string }{
	{"README.md", "            login ", "a picture"},
	{"CONTRIBUTING.md", "   refresh ── ", "a picture, held by internal/layout"},
	{"docs/browsers.md", `<script src="/session/session.js">`, "tags of the reader's page; internal/e2e/browser runs that script in such a page"},
	{"internal/e2e/versions/testdata/written/README.md", "git worktree add ", "it builds an earlier version out of a history that a checkout may not have"},
}

// Documents are the pages of the repository that have blocks, and the tests that say that they
// run them.
type Documents struct {
	Pages  map[string][]Block // by path
	claims map[claim]string
}

// A claim is a comment of the form
//
//	//blocks:run docs/apps.md go sh text
//
// at the end of a test's documentation: the test builds or runs the blocks of these kinds in
// that page. A block whose fence says nothing is of the kind "-".
type claim struct{ page, kind string }

var (
	tests    = regexp.MustCompile(`(?m)^((?://.*\n)+)func (Test\w+)\(t \*testing\.T\)`)
	claims   = regexp.MustCompile(`(?m)^//blocks:run (\S+) (.+)$`)
	comments = regexp.MustCompile(`(?m)^//blocks:run .*$`)
)

// Read reads the documents and the tests of the repository whose top root is.
func Read(root string) (*Documents, error) {
	d := &Documents{map[string][]Block{}, map[claim]string{}}
	var problems []error
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules"):
			return filepath.SkipDir
		case e.IsDir() || ext != ".md" && !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if ext != ".md" {
			problems = append(problems, d.claim(path, string(text))...)
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		page := filepath.ToSlash(name)
		blocks, err := Parse(page, string(text))
		if err != nil {
			problems = append(problems, err)
		}
		if len(blocks) > 0 {
			d.Pages[page] = blocks
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, errors.Join(append(problems, d.stale()...)...)
}

// claim takes up what the tests of a file say that they run.
func (d *Documents) claim(path, text string) (problems []error) {
	rest, n := comments.ReplaceAllString(text, ""), 0
	for _, test := range tests.FindAllStringSubmatch(text, -1) {
		for _, m := range claims.FindAllStringSubmatch(test[1], -1) {
			n++
			if !strings.Contains(rest, filepath.Base(m[1])) {
				problems = append(problems, fmt.Errorf("%s says that it runs blocks of %s, which it does not read", path, m[1]))
			}
			for _, kind := range strings.Fields(m[2]) {
				d.claims[claim{m[1], strings.TrimPrefix(kind, "-")}] = test[2]
			}
		}
	}
	if all := len(comments.FindAllString(text, -1)); n != all {
		problems = append(problems, fmt.Errorf("%s: of %d comments blocks:run %d stand at the end of a test's documentation and name a page and kinds", path, all, n))
	}
	return problems
}

// stale are the claims and exceptions that are for nothing.
func (d *Documents) stale() (problems []error) {
	for c, test := range d.claims {
		n := 0
		for _, b := range d.Pages[c.page] {
			if b.Kind == c.kind && !Shown(b) {
				n++
			}
		}
		if n == 0 {
			problems = append(problems, fmt.Errorf("%s says that it runs blocks ```%s of %s, which has none", test, c.kind, c.page))
		}
	}
	for _, s := range shown {
		n := 0
		for _, b := range d.Pages[s.page] {
			if Shown(b) && strings.HasPrefix(b.Body, s.begins) {
				n++
			}
		}
		if n != 1 {
			problems = append(problems, fmt.Errorf("%s has %d blocks that begin with %q, want one: see shown in internal/fenced", s.page, n, s.begins))
		}
	}
	return problems
}

// Shown reports whether the block is one that nothing can run.
func Shown(b Block) bool {
	for _, s := range shown {
		if s.page == b.Page && strings.HasPrefix(b.Body, s.begins) {
			return true
		}
	}
	return false
}

// TestOf is the test that says that it runs the block; "" for none.
func (d *Documents) TestOf(b Block) string { return d.claims[claim{b.Page, b.Kind}] }

// Free reports whether the block is left to the tests in examples.
func (d *Documents) Free(b Block) bool { return !Shown(b) && d.TestOf(b) == "" }

// LooseEnds are the blocks of a page that no test builds or runs, and what their author can do.
func (d *Documents) LooseEnds(blocks []Block) (ends []string) {
	for i, b := range blocks {
		if !d.Free(b) || b.Commands() != nil {
			continue
		}
		switch b.Kind {
		case "go", "sh", "console":
		case "json":
			if !json.Valid([]byte(b.Body)) {
				ends = append(ends, fmt.Sprintf("%s is not JSON", b))
			}
		case "text":
			if i > 0 && d.Free(blocks[i-1]) && blocks[i-1].Commands() == nil && (blocks[i-1].Kind == "sh" || blocks[i-1].Program()) {
				continue
			}
			ends = append(ends, fmt.Sprintf("%s follows no block that prints it: put it behind a block of sh or a whole program, or see the next line\n\t%s", b, advice))
		default:
			ends = append(ends, fmt.Sprintf("%s is run by nothing\n\t%s", b, advice))
		}
	}
	return ends
}

// Page returns the blocks of one document that are of one of the kinds, but for those that
// nothing can run.
func Page(root, page string, kinds ...string) ([]Block, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
	if err != nil {
		return nil, err
	}
	blocks, err := Parse(page, string(text))
	return slices.DeleteFunc(blocks, func(b Block) bool { return !slices.Contains(kinds, b.Kind) || Shown(b) }), err
}

// Matches reports whether a text is the one wanted, in which … stands for what differs within
// a line, and, as all of it, for anything.
func Matches(text, want string) bool {
	if want == "…" {
		return true
	}
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", `[^"}\n]+`) + "$").MatchString(text)
}

const advice = `write it as go (a test builds it); sh, with a block of text behind it for what it prints, or console, with "$ " before each command (a test runs them with bash in an empty directory; … stands for what differs); or json.
	Or write a test that runs it, and say so at the end of that test's documentation, with the kinds of blocks ("-" for a bare fence): //blocks:run docs/page.md sh text
	Or, where nothing can run it, enter it with the reason in the list shown of internal/fenced`

// Parse returns the blocks of a document, in their order. It refuses fences that a reader takes
// for such and Parse does not.
func Parse(page, text string) (blocks []Block, err error) {
	var open *Block
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch fence := strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~"); {
		case fence && !strings.HasPrefix(line, "```"):
			return nil, fmt.Errorf("%s:%d: a fence that is not ``` at the margin: no test sees such a block", page, i+1)
		case fence && open == nil:
			open = &Block{Page: page, Line: i + 2, Kind: strings.TrimPrefix(line, "```")}
		case fence && line != "```":
			return nil, fmt.Errorf("%s:%d: %s within a block", page, i+1, line)
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Body += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s does not end", *open)
	}
	return blocks, nil
}
