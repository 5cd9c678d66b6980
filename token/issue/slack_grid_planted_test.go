//go:build planted

package issue_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlantedSlack plants what would be wrong, one at a time, and has the grid find it:
// a checker that cannot fail proves nothing.
func TestPlantedSlack(t *testing.T) {
	for _, fault := range []struct{ name, file, old, new string }{
		{"the slack is MaxSkew once", "../../revoke/limits.go", "return 2 * h.skew()", "return h.skew()"},
		{"a constant slack", "../../revoke/limits.go", "return 2 * h.skew()", "return 2 * time.Second"},
		{"iat in place of hyt_at", "../claims.go", "		MintedAt:  c.minted.time(),\n", ""},
		{"an iat is let in twice MaxSkew ahead", "../acceptor.go", "min(a.ahead, h.MaxSkew.Milliseconds())", "min(a.ahead, h.Slack().Milliseconds())"},
		{"a login is dated past its cutoff without waiting", "issuer.go", "		if t.wait <= 0 {\n", "		if true {\n"},
		{"a missing cutoff is the log's time", "../../revoke/event.go", "		limit = ceilMilli(limit).Add(h.Slack())\n", "		limit = ceilMilli(limit)\n"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			path, err := filepath.Abs(fault.file)
			if err != nil {
				t.Fatal(err)
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), fault.old); n != 1 {
				t.Fatalf("%s holds %q %d times: the test must follow the code", fault.file, fault.old, n)
			}
			tmp := t.TempDir()
			broken := filepath.Join(tmp, filepath.Base(path))
			if err := os.WriteFile(broken, []byte(strings.Replace(string(src), fault.old, fault.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(tmp, "overlay.json")
			if err := os.WriteFile(file, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("go", "test", "-overlay", file, "-count=1", "-short", "-run", "^TestSlackGrid$", ".").CombinedOutput()
			if err == nil {
				t.Fatalf("goes unnoticed:\n%s", out)
			}
			_, found, _ := strings.Cut(string(out), "slack_grid_test.go:")
			if found == "" {
				t.Fatalf("failed, but not by an assertion:\n%s", out)
			}
			found, _, _ = strings.Cut(found, "\n")
			t.Log(found)
		})
	}
}
