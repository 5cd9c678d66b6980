package examples_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOnceReadmes runs the command with -once of each README here that has one, from the top of the
// repository, and compares what it prints with what the README says it prints; what differs from run
// to run is "…" there.
func TestOnceReadmes(t *testing.T) {
	for _, name := range []string{"grpc", "microservices"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			command := regexp.MustCompile(`(?m)^go run (\./examples/\S+) -once\b`).FindSubmatch(text)
			says := regexp.MustCompile("(?ms)^`-once` prints\n\n```text\n(.*?)^```$").FindSubmatch(text)
			if command == nil || says == nil {
				t.Fatal("its README has no command with -once, or not what it prints")
			}
			cmd := exec.CommandContext(t.Context(), "go", "run", string(command[1]), "-once")
			cmd.Dir = ".."
			var logged bytes.Buffer
			cmd.Stderr = &logged
			out, err := cmd.Output()
			want := strings.ReplaceAll(regexp.QuoteMeta(string(says[1])), "…", `\S+`)
			if err != nil || !regexp.MustCompile("^"+want+"$").Match(out) {
				t.Errorf("%v\nprinted:\n%s\nwant:\n%s\nlogged:\n%s", err, out, says[1], &logged)
			}
		})
	}
}
