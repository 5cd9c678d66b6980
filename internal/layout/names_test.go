package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tellOfTheirTime are documents that name what there was, and is no more.
var tellOfTheirTime = map[string]bool{"CHANGELOG.md": true}

// foreign are names in backquotes that are other people's.
var foreign = map[string]bool{"time.Sleep": true, "http.ServeMux": true, "jwk.PublicSetOf": true, "ed25519.PrivateKey": true, "nats.IgnoreAuthErrorAbort": true, "context.Cause": true, "context.Canceled": true, "context.WithCancel": true, "bloom.Test": true, "jwt.Keyfunc": true}

// What the documents name exists: packages' exported names as `pkg.Name`, their methods
// and fields as `Type.Member`, tests, fuzz targets and benchmarks by name alone.
func TestDocumentsNameWhatExists(t *testing.T) {
	exist := names(t)
	if len(exist) < 1000 {
		t.Fatalf("only %d names found: has the code moved?", len(exist))
	}
	inBackquotes := regexp.MustCompile("`([A-Za-z][A-Za-z0-9]*(?:\\.[A-Z][A-Za-z0-9]*)+|(?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)(?:\\(\\))?`")
	checked := 0
	for _, page := range documents(t) {
		if tellOfTheirTime[page] {
			continue
		}
		for _, m := range inBackquotes.FindAllStringSubmatch(read(t, page), -1) {
			checked++
			if !exist[m[1]] && !foreign[m[1]] {
				t.Errorf("%s names `%s`, which does not exist", page, m[1])
			}
		}
	}
	if checked < 150 {
		t.Errorf("only %d names found in the documents", checked)
	}
}

// names returns what may be named: "pkg.Name", "pkg.Type.Member", "Type.Member", and
// functions of tests.
func names(t *testing.T) map[string]bool {
	t.Helper()
	exist := map[string]bool{}
	add := func(pkg string, f *ast.File) {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					exist[pkg+"."+d.Name.Name] = true
					continue
				}
				typ := d.Recv.List[0].Type
				if star, ok := typ.(*ast.StarExpr); ok {
					typ = star.X
				}
				if id, ok := typ.(*ast.Ident); ok {
					exist[id.Name+"."+d.Name.Name], exist[pkg+"."+id.Name+"."+d.Name.Name] = true, true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							exist[pkg+"."+n.Name] = true
						}
					case *ast.TypeSpec:
						exist[pkg+"."+s.Name.Name] = true
						for _, member := range members(s.Type) {
							exist[s.Name.Name+"."+member], exist[pkg+"."+s.Name.Name+"."+member] = true, true
						}
					}
				}
			}
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
					exist[fn.Name.Name] = true
				}
			}
			return nil
		}
		add(f.Name.Name, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return exist
}

// members returns the names of a type's fields or methods.
func members(typ ast.Expr) (list []string) {
	var fields *ast.FieldList
	switch typ := typ.(type) {
	case *ast.StructType:
		fields = typ.Fields
	case *ast.InterfaceType:
		fields = typ.Methods
	default:
		return nil
	}
	for _, f := range fields.List {
		for _, n := range f.Names {
			list = append(list, n.Name)
		}
		if len(f.Names) > 0 {
			continue
		}
		embedded := f.Type
		if star, ok := embedded.(*ast.StarExpr); ok {
			embedded = star.X
		}
		switch e := embedded.(type) {
		case *ast.Ident:
			list = append(list, e.Name)
		case *ast.SelectorExpr:
			list = append(list, e.Sel.Name)
		}
	}
	return list
}
