package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/fenced"
	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// documents are those of the repository, with their blocks.
func documents(t *testing.T) *fenced.Documents {
	t.Helper()
	d, err := fenced.Read("..")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pageBlocks returns the blocks of one document that are of one of the kinds.
func pageBlocks(t *testing.T, page string, kinds ...string) []fenced.Block {
	t.Helper()
	blocks, err := fenced.Page("..", page, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// TestShellBlocksRun runs the blocks of sh and console that no other test runs, those of a page
// in their order in an empty directory, and compares what they print.
func TestShellBlocksRun(t *testing.T) {
	all := documents(t)
	for page, blocks := range all.Pages {
		if steps := shellSteps(all, blocks); len(steps) > 0 {
			t.Run(page, func(t *testing.T) {
				if err := runSteps(t, steps, nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// shellSteps are what a shell is given of the blocks of a page. Of a block of sh that no text
// follows any output will do.
func shellSteps(all *fenced.Documents, blocks []fenced.Block) (steps []step) {
	for i, b := range blocks {
		switch {
		case !all.Free(b) || b.Commands() != nil:
		case b.Kind == "console":
			steps = append(steps, commandsOf(b)...)
		case b.Kind != "sh":
		case i+1 < len(blocks) && blocks[i+1].Kind == "text" && all.Free(blocks[i+1]):
			steps = append(steps, step{b.Body, blocks[i+1].Body})
		default:
			steps = append(steps, step{b.Body, "…"})
		}
	}
	return steps
}

// The twin: what prints something else, or fails, is noticed.
func TestShellBlocksAreCompared(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want string // of the error; empty for none
	}{
		"sh":                   {"```sh\necho a\n```\n```text\na\n```\n", ""},
		"one after the other":  {"```sh\nx=7\n```\nthen\n```sh\necho $x; ls\n```\n```text\n7\n```\n", ""},
		"what differs":         {"```sh\necho a; date\n```\n```text\na\n…\n```\n", ""},
		"console":              {"```console\n$ echo a b\na b\n$ true\n$ pwd\n/…\n```\n", ""},
		"other text":           {"```sh\necho a\n```\n```text\nb\n```\n", "want:\nb"},
		"more text":            {"```sh\necho a; echo b\n```\n```text\na\n```\n", "printed:\na\nb"},
		"less text":            {"```sh\necho a\n```\n```text\na\nb\n```\n", "want:\na\nb"},
		"a failure":            {"```sh\nfalse\n```\n", "exit status 1"},
		"another answer":       {"```console\n$ echo a b\nb\n```\n", "want:\nb"},
		"an answer of nothing": {"```console\na\n$ true\n```\n", "want:\na"},
		"an unset variable":    {"```sh\necho $surely_unset\n```\n", "surely_unset"},
	} {
		blocks, err := fenced.Parse("some page.md", c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := runSteps(t, shellSteps(new(fenced.Documents), blocks), nil); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A step is what a shell is given, and what it is to print, … for what differs.
type step struct{ script, prints string }

// commandsOf returns the steps of a block of console: each command, after "$ ", and what
// stands below it.
func commandsOf(b fenced.Block) (steps []step) {
	for line := range strings.Lines(b.Body) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{script: command})
		} else if len(steps) == 0 {
			steps = append(steps, step{prints: line}) // which nothing prints
		} else {
			steps[len(steps)-1].prints += line
		}
	}
	return steps
}

// runSteps runs the steps in one shell, in an empty directory. put, which may be nil, puts an
// address of the test's in the place of the document's.
func runSteps(t *testing.T, steps []step, put *strings.Replacer) error {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		gate.Skip(t, "there is no bash to run the commands of documents")
	}
	if put == nil {
		put = strings.NewReplacer()
	}
	const mark = "-- the next step --\n"
	script := "shopt -s expand_aliases\n"
	for _, s := range steps {
		script += put.Replace(s.script) + "\necho '" + strings.TrimSpace(mark) + "'\n"
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-eu")
	cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader(script)
	cmd.Env = append(os.Environ(), "no_proxy=localhost,127.0.0.1", "NO_PROXY=localhost,127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	prints := strings.Split(string(out), mark)
	if len(prints) != len(steps)+1 {
		return fmt.Errorf("of %d steps %d have ended:\n%s", len(steps), len(prints)-1, out)
	}
	for i, s := range steps {
		if want := put.Replace(s.prints); !fenced.Matches(prints[i], want) {
			return fmt.Errorf("%sprinted:\n%swant:\n%s", s.script, prints[i], want)
		}
	}
	return nil
}
