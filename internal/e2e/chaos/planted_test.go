//go:build planted

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A fork with a real mirror, once as the code is and once with replicas for which a
// heartbeat's digest always agrees, so that its position is all that counts. The first run
// is in order; the second finds tokens accepted that were revoked, by who says that it is
// fresh, and fails.
func TestPlantedFork(t *testing.T) {
	t.Parallel()
	for name, planted := range map[string]bool{"sound": false, "position taken for content": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := build(t, planted)
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			patience := "4m"
			if planted {
				patience = "30s" // it is in vain
			}
			cmd := exec.CommandContext(ctx, program, "-minutes", "0.1", "-rate", "60", "-verifiers", "3", "-mirrored", "1", "-max-staleness", "8s",
				"-patience", patience, "-faults", "fork-recreated", "-member-faults", "skew-verifier", "-dir", t.TempDir())
			out, err := cmd.CombinedOutput()
			said := string(out)
			has := func(what string) bool { return strings.Contains(said, what) }
			switch exit, ended := errors.AsType[*exec.ExitError](err); {
			case !planted && (err != nil || !has("| violations | 0 |") || !has("| fork recreated | ")):
				t.Errorf("%v\n%s", err, said)
			case planted && (!ended || exit.ExitCode() != 1 || has("| violations | 0 |") || !has(", fresh: ") || !has("1 verifiers behind the mirror never told of a fork")):
				t.Errorf("goes unnoticed: %v\n%s", err, said)
			case planted:
				_, found, _ := strings.Cut(said, "## Violations\n\n")
				found, _, _ = strings.Cut(found, "\n")
				t.Log(found)
				if !strings.HasPrefix(found, "- invariant 1: verifier 1 ") {
					t.Errorf("something else went wrong: %s", found)
				}
			}
		})
	}
}

// build builds this program, perhaps with the fault in it, and returns its path.
func build(t *testing.T, planted bool) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "chaos")
	args := []string{"build", "-o", program}
	if planted {
		const old, broken = "case m.digest != *d:", "case false:"
		real, err := filepath.Abs("../../replica/fork.go")
		if err != nil {
			t.Fatal(err)
		}
		src, err := os.ReadFile(real)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), old); n != 1 {
			t.Fatalf("%s holds %q %d times: the test must follow the code", real, old, n)
		}
		copied, list := filepath.Join(dir, "fork.go"), filepath.Join(dir, "overlay.json")
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{real: copied}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(copied, []byte(strings.Replace(string(src), old, broken, 1)), 0o600), os.WriteFile(list, overlay, 0o600)); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-overlay", list)
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
