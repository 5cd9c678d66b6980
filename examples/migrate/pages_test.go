package migrate_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each Go block of a page docs/migrate-from-X.md is code of a folder in internal, which is compiled, and which
// the test there runs. Each file is quoted, too.
//
//blocks:run docs/migrate-from-golang-jwt.md go
//blocks:run docs/migrate-from-redis.md go
//blocks:run docs/migrate-from-introspection.md go
//blocks:run docs/migrate-from-krakend.md go
func TestPagesQuoteTheCode(t *testing.T) {
	for page, folder := range map[string]string{
		"migrate-from-golang-jwt.md":    "golangjwt",
		"migrate-from-redis.md":         "redis",
		"migrate-from-introspection.md": "introspection",
		"migrate-from-krakend.md":       "krakend",
	} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob("internal/" + folder + "/*.go")
		if err != nil || len(files) < 2 {
			t.Fatalf("%s: %d files: %v", folder, len(files), err)
		}
		quoted := map[string]bool{}
		code := map[string]string{}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			code[f] = string(src)
		}
		for _, m := range regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			in := ""
			for f, src := range code {
				if strings.Contains("\n"+src, "\n"+m[1]) {
					in = f
				}
			}
			if in == "" {
				t.Errorf("%s has a block that is in no file of internal/%s:\n%s", page, folder, m[1])
			}
			quoted[in] = true
		}
		for f := range code {
			if !quoted[f] {
				t.Errorf("%s quotes nothing of %s", page, f)
			}
		}
	}
}
