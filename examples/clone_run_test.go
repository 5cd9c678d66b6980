package examples_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandsOfAClone runs the commands that documents give for a clone of the repository,
// each as one that ends and listens where nobody else does. Of the gate, and of what only the
// gate runs, it holds that it can be begun.
func TestCommandsOfAClone(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	visit := []string{"go", "run", "./examples/auth", "-once", "-shop", "127.0.0.1:0", "-orders", "127.0.0.1:0", "-data", t.TempDir()}
	here := map[string][]string{
		"go run ./examples/auth":       visit,
		"go run ./examples/auth -once": visit,
		"go run ./examples/demo -once": {"go", "run", "./examples/demo", "-once", "-listen", "127.0.0.1:0"},
		"go run ./examples/quickstart": {"go", "run", "./examples/quickstart"},
		"go test work":                 {"go", "list", "work"},
		".ci/run":                      {"bash", "-n", ".ci/run"},
		".ci/long":                     {"bash", "-n", ".ci/long"},
		".ci/interop":                  {"bash", "-n", ".ci/interop"},
	}
	given, ran := map[string]bool{}, map[string]bool{}
	all := documents(t)
	for _, blocks := range all.Pages {
		for _, b := range blocks {
			for _, command := range b.Commands() {
				given[command] = true
			}
		}
	}
	for _, blocks := range all.Pages {
		for _, b := range blocks {
			if !all.Free(b) {
				continue
			}
			for _, command := range b.Commands() {
				words, known := here[command]
				switch {
				case known:
				case strings.HasPrefix(command, "go run ./examples/") && strings.HasSuffix(command, " -once"):
					words = strings.Fields(command)
				case given[command+" -once"]:
					continue // it serves for ever, and does the same
				default:
					t.Errorf("%s: the command %q is unknown. Give the same with -once, too, or say in this test how to run it", b, command)
					continue
				}
				if line := strings.Join(words, " "); ran[line] {
					continue
				} else {
					ran[line] = true
				}
				cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", b, command, err, out)
				}
			}
		}
	}
	for command := range here {
		if !given[command] {
			t.Errorf("no document gives the command %q", command)
		}
	}
}
