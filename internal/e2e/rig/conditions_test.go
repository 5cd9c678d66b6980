package rig_test

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Conditions do not wait for one answer for as long as for the condition itself: an
// answer that is lost would be waited for until it is too late to ask again.
func TestConditionsAskAgain(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	beside, err := filepath.Glob(filepath.Join("..", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	conditions, packages := 0, map[string]bool{}
	for _, name := range append(files, beside...) {
		fset := gotoken.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		imports := func(s *ast.ImportSpec) bool { return strings.HasSuffix(s.Path.Value, `/internal/e2e/rig"`) }
		if file.Name.Name != "rig" && !slices.ContainsFunc(file.Imports, imports) {
			continue // it waits in ways of its own
		}
		packages[file.Name.Name] = true
		for at, call := range patientConditions(file, &conditions) {
			t.Errorf("%s: a condition waits for one answer (%s); take the context that AskUntil gives", fset.Position(at), call)
		}
	}
	if conditions < 100 || len(packages) < 8 {
		t.Errorf("only %d conditions of %d packages were looked at", conditions, len(packages))
	}
	// The good twin of both, and what is to be found.
	for source, want := range map[string]int{
		`rig.Eventually(t, "x", func() bool { return f.Status().State == Fresh })`:                             0,
		`rig.AskUntil(t, "x", func(ctx context.Context) error { _, err := js.Stream(ctx, "s"); return err })`:  0,
		`rig.Eventually(t, "x", func() bool { _, err := js.Stream(rig.Within(t), "s"); return err == nil })`:   1,
		`rig.Eventually(t, "x", func() bool { _, err := nc.Request("s", nil, time.Hour); return err == nil })`: 1,
		`rig.AskUntil(t, "x", func(ctx context.Context) error { return store.Load(t.Context(), "k") })`:        1,
		`rig.AskUntil(t, "x", func(context.Context) error { return nc.Flush() })`:                              1,
	} {
		file, err := parser.ParseFile(gotoken.NewFileSet(), "", "package p\nfunc f() {\n"+source+"\n}", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(patientConditions(file, &conditions)); got != want {
			t.Errorf("%d found, want %d: %s", got, want, source)
		}
	}
}

// patientConditions finds in what is given to Eventually and AskUntil the calls with a
// context of the whole test's, or with none, and counts what it has looked at.
func patientConditions(file *ast.File, conditions *int) map[gotoken.Pos]string {
	found := map[gotoken.Pos]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		wait, ok := n.(*ast.CallExpr)
		if !ok || len(wait.Args) != 3 || !isOneOf(wait.Fun, "Eventually", "AskUntil") {
			return true
		}
		condition, ok := wait.Args[2].(*ast.FuncLit)
		if !ok {
			return true
		}
		*conditions++
		ast.Inspect(condition, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			// Of the test's own, of nobody's, and requests that take no context.
			if isOneOf(call.Fun, "Within", "Context", "Background", "TODO", "Request", "Flush", "Get") {
				found[call.Pos()] = types.ExprString(call.Fun)
			}
			return true
		})
		return true
	})
	return found
}

// isOneOf reports whether a function has one of those names, as a method or by itself.
func isOneOf(f ast.Expr, names ...string) bool {
	if s, ok := f.(*ast.SelectorExpr); ok {
		f = s.Sel
	}
	name, ok := f.(*ast.Ident)
	return ok && slices.Contains(names, name.Name)
}
