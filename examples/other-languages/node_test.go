package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What bus/WIRE.md asks of a publisher and a follower, and no server does on demand: each program of
// testdata runs the Node ones against a connection of its own making, and prints what came of it.
func TestNodeAlone(t *testing.T) {
	need(t)
	node, npm, _, err := tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unpack(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := npm(t.Context(), filepath.Join(dir, "node")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"lost.mjs":        `{"stored":"abcde","failed":0}`,
		"sent-before.mjs": `{"before":false,"after":true}`,
	} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(dir, "node", name)
		if err := os.WriteFile(program, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), node, program)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if got := string(bytes.TrimSpace(out)); err != nil || got != want {
			t.Errorf("%s: %v, printed %s, want %s\n%s", name, err, got, want, &errs)
		}
	}
}
