package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Tests skip for want of something only through internal/gate, so that the gate hears of
// it. Published vectors are no part of a checkout: their tests are skipped where they are
// not, at the gate too. Nor is it a matter of the gate which inputs a fuzz target passes by.
func TestSkipsAreHeardOf(t *testing.T) {
	allowed := map[string]int{
		"internal/e2e/versions/testdata/written/write_test.go": 2, // a program that writes samples when asked to
		"token/vectors_test.go":                                1,
		"refresh/refresh_test.go":                              1,
		"refresh/web/cookies_test.go":                          1,
		"token/fuzz_test.go":                                   1,
		"internal/e2e/servers_test.go":                         1, // what takes minutes, and what the gate runs
		"internal/e2e/versions/before_test.go":                 1, // in a shallow clone, which the gate's summary names
		"benchmarks/report/report_test.go":                     1, // Redis, which the report measures where it is installed
	}
	skip := regexp.MustCompile(`\b[tbf]\.Skip(Now|f)?\(`)
	through := regexp.MustCompile(`\bgate\.Skip\(`)
	viaGate := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		viaGate += len(through.FindAll(data, -1))
		if n := len(skip.FindAll(data, -1)); n != allowed[filepath.ToSlash(name)] && !strings.HasPrefix(filepath.ToSlash(name), "internal/gate/") {
			t.Errorf("%s skips tests in %d places, want %d: for want of something, use internal/gate", name, n, allowed[filepath.ToSlash(name)])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if viaGate == 0 {
		t.Error("nothing skips through the gate: does this test look at the right thing?")
	}
}
