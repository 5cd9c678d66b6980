package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// exported is how many exported package-level names each public package may have: types,
// functions, variables and constants, without methods and fields. One more is a decision,
// and stands here; who takes some away lowers the number.
var exported = map[string]int{
	"bus":               22,
	"bus/embedded":      3,
	"bus/rollcall":      6,
	"refresh":           44,
	"refresh/natskv":    7,
	"refresh/storetest": 2,
	"refresh/web":       23,
	"revoke":            75,
	"revoke/revoketest": 5,
	"token":             67,
	"token/grpctoken":   4,
	"token/idp":         6,
	"token/issue":       25,
	"token/tokentest":   11,
}

// A package's names do not grow by accident.
func TestExportedNames(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" || d.Name() == "internal"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if file.Name.Name == "main" {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		found[path.Clean(filepath.ToSlash(rel))] += exportedNames(file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(found, func(_ string, n int) bool { return n == 0 })
	for pkg, n := range found {
		if most, ok := exported[pkg]; !ok {
			t.Errorf("%s is a new public package with %d exported names: enter it", pkg, n)
		} else if n > most {
			t.Errorf("%s has %d exported names, and may have %d: is each worth it?", pkg, n, most)
		}
	}
	for pkg := range exported {
		if found[pkg] == 0 {
			t.Errorf("%s has no exported names: does this test look at the right thing?", pkg)
		}
	}
}

func exportedNames(file *ast.File) (n int) {
	count := func(id *ast.Ident) {
		if id.IsExported() {
			n++
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				count(d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					count(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						count(id)
					}
				}
			}
		}
	}
	return n
}
