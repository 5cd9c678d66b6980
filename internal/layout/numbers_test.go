package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Two copies of one number of the protocol drift apart, and then one side makes what the
// other refuses, or forgets what it still needs. Each of these is written in one file.
func TestNumbersHaveOneHome(t *testing.T) {
	for _, n := range []struct {
		what, pattern, home string
		times               int // in its home
	}{
		{"ten years", `36[0-9]{2}\s*\*\s*24|10\s*\*\s*36[0-9]`, "revoke/limits.go", 1},
		{"the border between seconds and milliseconds", `100_?000_?000_?000`, "revoke/limits.go", 1},
		{"what an entry outlives its Until by", `\b12\s*\*\s*time\.Minute`, "", 0},
		{"the largest leeway", `MaxLeeway\s*=`, "revoke/limits.go", 1},
		{"the largest MaxSkew", `MaxSkewLimit\s*=`, "revoke/limits.go", 1},
		{"the slack, twice MaxSkew", `2\s*\*\s*h\.skew\(\)`, "revoke/limits.go", 1},
		{"another slack", `2\s*\*\s*[a-zA-Z.()]*MaxSkew|(?i:slack)\s*=\s*[0-9]`, "bus/internal/publish/complete_early.go", 1}, // the constant of the version before
		{"rounding up to milliseconds", `func ceilMilli`, "revoke/limits.go", 1},
		{"the default MaxStaleness", `(?i:stale\w*)\s*=\s*15`, "revoke/limits.go", 1},
	} {
		pattern := regexp.MustCompile(n.pattern)
		found := 0
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if err == nil && (d.Name() == "benchmarks" || d.Name() == "examples" || d.Name() == "findings" || strings.HasPrefix(d.Name(), ".") && path != root) {
					return fs.SkipDir
				}
				return err
			}
			if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			for _, line := range strings.Split(string(text), "\n") {
				code, _, _ := strings.Cut(line, "//")
				if !pattern.MatchString(code) || strings.Contains(code, "KeyringConfig") || rel == filepath.Join("token", "issue", "keyring_config.go") && strings.Contains(code, "c.MaxSkew") {
					continue
				}
				if rel == filepath.Join("revoke", "revoketest", "bus.go") && strings.Contains(code, "must.Before") {
					continue // the checker, which must not go by what it checks
				}
				if rel != filepath.FromSlash(n.home) {
					t.Errorf("%s stands in %s too: %s", n.what, rel, strings.TrimSpace(code))
					continue
				}
				found++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if found != n.times {
			t.Errorf("%s stands %d times in %s, want %d: does this test look at the right thing?", n.what, found, n.home, n.times)
		}
	}
}
