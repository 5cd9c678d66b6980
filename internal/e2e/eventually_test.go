package e2e_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"go/types"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// There is one way to wait here: eventually, for a condition that this process can see,
// and its form askUntil, for one that somebody else has to be asked about.

const (
	// deadline bounds every wait of these tests. It is generous: nothing here judges speed,
	// and several clusters may be electing at once.
	deadline = 2 * time.Minute

	// askTimeout bounds one request of a wait. A request that a server takes with it into
	// its restart is never answered, however long one waits; the next one is.
	askTimeout = 2 * time.Second
)

// within bounds a call that asks again by itself until its context ends, as those of
// packages bus and natskv do, or one that nothing happens to meanwhile. What a condition
// asks it asks through askUntil.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition that nothing announces and that takes no request to
// see.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	askUntil(t, what, func(context.Context) error {
		if !ok() {
			return errors.New("not so")
		}
		return nil
	})
}

// askUntil calls ask until it returns nil. The context of each call ends after a short
// time, and the next call asks again; so each request has to be one that may be made
// twice. If the wait is in vain, the test fails with the last error.
func askUntil(t *testing.T, what string, ask func(context.Context) error) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var last error
	for end := time.Now().Add(deadline); time.Now().Before(end); <-tick.C {
		ctx, cancel := context.WithTimeout(t.Context(), askTimeout)
		last = ask(ctx)
		cancel()
		if last == nil {
			return
		}
	}
	t.Fatalf("not within %s: %s: %v", deadline, what, last)
}

// Conditions do not wait for one answer for as long as for the condition itself: an
// answer that is lost would be waited for until it is too late to ask again.
func TestConditionsAskAgain(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	conditions := 0
	for _, name := range files {
		fset := gotoken.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for at, call := range patientConditions(file, &conditions) {
			t.Errorf("%s: a condition waits for one answer (%s); take the context that askUntil gives", fset.Position(at), call)
		}
	}
	if conditions < 100 {
		t.Errorf("only %d conditions were looked at", conditions)
	}
	// The good twin of both, and what is to be found.
	for source, want := range map[string]int{
		`eventually(t, "x", func() bool { return f.Status().State == Fresh })`:                             0,
		`askUntil(t, "x", func(ctx context.Context) error { _, err := js.Stream(ctx, "s"); return err })`:  0,
		`eventually(t, "x", func() bool { _, err := js.Stream(within(t), "s"); return err == nil })`:       1,
		`eventually(t, "x", func() bool { _, err := nc.Request("s", nil, time.Hour); return err == nil })`: 1,
		`askUntil(t, "x", func(ctx context.Context) error { return store.Load(t.Context(), "k") })`:        1,
		`askUntil(t, "x", func(context.Context) error { return nc.Flush() })`:                              1,
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

// patientConditions finds in what is given to eventually and askUntil the calls with a
// context of the whole test's, or with none, and counts what it has looked at.
func patientConditions(file *ast.File, conditions *int) map[gotoken.Pos]string {
	found := map[gotoken.Pos]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		wait, ok := n.(*ast.CallExpr)
		if !ok || len(wait.Args) != 3 || !isOneOf(wait.Fun, "eventually", "askUntil") {
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
			if isOneOf(call.Fun, "within", "Context", "Background", "TODO", "Request", "Flush", "Get") {
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
