package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/fenced"
)

// buildProgram builds a program of this module from the source of its main.go, and returns its
// file.
func buildProgram(t *testing.T, src string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, overlay, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "program")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "snippet", "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{file: []byte(src), overlay: replace} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", program, "./snippet").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// TestProgramBlocksRun runs the programs of documents that a block of text follows, which is
// what they print, unless another test does.
func TestProgramBlocksRun(t *testing.T) {
	all := documents(t)
	for _, blocks := range all.Pages {
		for i, b := range blocks {
			if !b.Program() || !all.Free(b) || i+1 == len(blocks) || blocks[i+1].Kind != "text" || !all.Free(blocks[i+1]) {
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", b.Page, b.Line), func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), buildProgram(t, b.Body))
				cmd.Dir = t.TempDir()
				out, err := cmd.CombinedOutput()
				if err != nil || !fenced.Matches(string(out), blocks[i+1].Body) {
					t.Errorf("%v\nprinted:\n%swant:\n%s", err, out, blocks[i+1].Body)
				}
			})
		}
	}
}
