package bus_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const onCallPage = "../docs/oncall.md"

// What the page for the person on call must name: all constants of these types, and
// all fields of these structs.
var (
	onCallConstants = map[string]bool{"revoke.State": true, "revoke.Reason": true, "revoke.Fault": true}
	onCallStructs   = map[string]bool{
		"revoke.Status": true, "revoke.Stats": true, "revoke.StateFileStatus": true,
		"bus.Status": true, "bus.Publishing": true, "bus.Announcement": true,
	}
)

// The page names every state, reason, fault and counter, and nothing that does not
// exist.
func TestOnCallPage(t *testing.T) {
	data, err := os.ReadFile(onCallPage)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`((?:revoke|bus)\\.[A-Z][A-Za-z.]*)`").FindAllStringSubmatch(string(data), -1) {
		named[m[1]] = true
	}
	exist, wanted := exported(t, "revoke", "../revoke"), []string(nil)
	for name, must := range exported(t, "bus", ".") {
		exist[name] = must
	}
	for name, must := range exist {
		if must {
			wanted = append(wanted, name)
		}
	}
	if len(wanted) < 50 {
		t.Fatalf("only %d names found that the page must hold: has a type been renamed?", len(wanted))
	}
	for _, name := range wanted {
		if !named[name] {
			t.Errorf("docs/oncall.md does not name `%s`: add a row to the table where its like stand, with the name in backquotes, what it means, and what the person on call is to do about it", name)
		}
	}
	for name := range named {
		if _, ok := exist[name]; !ok {
			t.Errorf("docs/oncall.md names `%s`, which does not exist: correct or remove it", name)
		}
	}
}

// exported returns the exported names of a package, fields of structs included, and
// which of them the page must hold.
func exported(t *testing.T, pkg, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(fs.ErrNotExist, dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.IsExported() {
					names[pkg+"."+d.Name.Name] = false
				}
			case *ast.GenDecl:
				collect(d, pkg, names)
			}
		}
	}
	return names
}

func collect(d *ast.GenDecl, pkg string, names map[string]bool) {
	typ := "" // of a run of constants, where only the first says it
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.ValueSpec:
			if id, ok := s.Type.(*ast.Ident); ok {
				typ = id.Name
			} else if len(s.Values) > 0 {
				typ = ""
			}
			for _, n := range s.Names {
				if n.IsExported() {
					names[pkg+"."+n.Name] = d.Tok == token.CONST && onCallConstants[pkg+"."+typ]
				}
			}
		case *ast.TypeSpec:
			name := pkg + "." + s.Name.Name
			if !s.Name.IsExported() {
				continue
			}
			names[name] = false
			st, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range st.Fields.List {
				for _, n := range field.Names {
					if n.IsExported() {
						names[name+"."+n.Name] = onCallStructs[name]
					}
				}
				if len(field.Names) == 0 { // embedded
					typ := field.Type
					if star, ok := typ.(*ast.StarExpr); ok {
						typ = star.X
					}
					if sel, ok := typ.(*ast.SelectorExpr); ok {
						names[name+"."+sel.Sel.Name] = onCallStructs[name]
					} else if id, ok := typ.(*ast.Ident); ok && id.IsExported() {
						names[name+"."+id.Name] = onCallStructs[name]
					}
				}
			}
		}
	}
}
