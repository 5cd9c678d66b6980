package jose

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// GO-2020-0023, CVE-2016-7036: MACs are compared in constant time. A clock cannot
// tell on a shared machine, so this reads the code.
func TestMACsAreComparedInConstantTime(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "verify.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	ast.Inspect(file, func(n ast.Node) bool {
		f, ok := n.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Verify" || f.Recv == nil {
			return true
		}
		if star, ok := f.Recv.List[0].Type.(*ast.StarExpr); !ok || star.X.(*ast.Ident).Name != "hmacVerifier" {
			return false
		}
		ret, ok := f.Body.List[len(f.Body.List)-1].(*ast.ReturnStmt)
		if !ok {
			t.Fatal("the last statement is no return")
		}
		call, ok := ret.Results[0].(*ast.CallExpr)
		if !ok {
			t.Fatal("what is returned is no call")
		}
		name, ok := call.Fun.(*ast.SelectorExpr)
		found = ok && name.Sel.Name == "Equal" && name.X.(*ast.Ident).Name == "hmac"
		return false
	})
	if !found {
		t.Error("hmacVerifier.Verify does not end with hmac.Equal")
	}
}
