// Package printtest looks for secrets in what careless code prints: for the tests of
// packages whose types bear them.
package printtest

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Verbs are all that fmt knows of for values, and one that it does not; %T and %p, which
// never look into a value, aside.
var Verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%+q", "%#q", "%x", "%X", "% x", "%#x", "%d", "%+d", "%b", "%o", "%O", "%t", "%c", "%U", "%#U", "%e", "%f", "%g", "%G", "%z", "%10.3v", "%-5d"}

// Prints returns all that becomes of v: under each verb, by value, unless it holds a
// lock, and by pointer, alone and inside of other values, in text and JSON logs, in an
// error and as JSON.
func Prints(v any) string {
	type holder struct{ Exported any }
	var b bytes.Buffer
	values := []any{v}
	switch r := reflect.ValueOf(v); {
	case r.Kind() == reflect.Pointer && !r.IsNil():
		if r.Elem().Kind() == reflect.Struct && !locked(r.Type().Elem()) {
			values = append(values, r.Elem().Interface())
		}
	case r.IsValid() && r.Kind() != reflect.Pointer:
		p := reflect.New(r.Type())
		p.Elem().Set(r)
		values = append(values, p.Interface())
	}
	text, js := slog.New(slog.NewTextHandler(&b, nil)), slog.New(slog.NewJSONHandler(&b, nil))
	for _, v := range values {
		for _, verb := range Verbs {
			for _, x := range []any{v, []any{v}, map[string]any{"k": v}, map[any]int{key(v): 1}, holder{v}, &holder{v}} {
				fmt.Fprintf(&b, verb+"\n", x)
			}
		}
		fmt.Fprintln(&b, v)
		fmt.Fprint(&b, fmt.Errorf("wrapped: %v", v))
		for _, log := range []*slog.Logger{text, js} {
			log.Info("m", "v", v, "in", []any{v}, "held", holder{v}, slog.Group("g", "v", v))
			log.With("v", v).WithGroup("g").Info(fmt.Sprint(v))
		}
		if data, err := json.Marshal(v); err == nil {
			b.Write(data)
		}
		if data, err := json.MarshalIndent(map[string]any{"v": v}, "", " "); err == nil {
			b.Write(data)
		}
	}
	return b.String()
}

// Hidden returns what becomes of v where fmt does not ask it for its methods and walks its
// fields without any lock: in an unexported field of somebody's struct, under a verb that
// is none of pointers also those of what v points to, and under a misplaced %w.
func Hidden(v any) string {
	type holder struct{ hidden any }
	var b bytes.Buffer
	for _, verb := range append([]string{"%w"}, Verbs...) {
		for _, x := range []any{v, holder{v}, &holder{v}, []any{holder{v}}} {
			fmt.Fprintf(&b, verb+"\n", x)
		}
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", holder{v})
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", holder{v})
	return b.String()
}

// locked reports whether a value of that type must not be copied.
func locked(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	if p := reflect.PointerTo(t); p.Implements(reflect.TypeFor[interface {
		Lock()
		Unlock()
	}]()) || strings.HasPrefix(t.String(), "atomic.") || t.String() == "sync.WaitGroup" {
		return true
	}
	for i := range t.NumField() {
		f := t.Field(i).Type
		for f.Kind() == reflect.Array {
			f = f.Elem()
		}
		if locked(f) {
			return true
		}
	}
	return false
}

func key(v any) any {
	if !reflect.TypeOf(v).Comparable() {
		return "not comparable"
	}
	if r := reflect.ValueOf(v); !r.Comparable() {
		return "not comparable"
	}
	return v
}

// Forms are the ways in which a secret is recognised in what was printed. Secrets shorter
// than eight bytes are found by chance.
func Forms(secret []byte) map[string]string {
	forms := map[string]string{
		"raw":        string(secret),
		"hex":        hex.EncodeToString(secret),
		"spaced hex": fmt.Sprintf("% x", secret),
		"base64":     strings.TrimRight(base64.StdEncoding.EncodeToString(secret), "="),
		"base64url":  base64.RawURLEncoding.EncodeToString(secret),
		"base32":     strings.TrimRight(base32.StdEncoding.EncodeToString(secret), "="),
		"numbers":    strings.Trim(fmt.Sprint(secret), "[]"),
		"Go":         strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		"quoted":     strings.Trim(strconv.Quote(string(secret)), `"`),
		"JSON":       strings.ReplaceAll(strings.Trim(fmt.Sprint(secret), "[]"), " ", ","),
		"characters": strings.Trim(fmt.Sprintf("%c", secret), "[]"),
		"binary":     strings.Trim(fmt.Sprintf("%b", secret), "[]"),
		"octal":      strings.Trim(fmt.Sprintf("%o", secret), "[]"),
		"unicode":    strings.Trim(fmt.Sprintf("%U", secret), "[]"),
	}
	return forms
}

// Words are the ways in which a secret number is recognised.
func Words(secret ...uint64) map[string]string {
	forms := make(map[string]string)
	for i, w := range secret {
		for _, verb := range []string{"%d", "%x", "%o", "%b", "%g", "%e"} {
			x := any(w)
			if verb == "%g" || verb == "%e" {
				x = float64(w)
			}
			forms[fmt.Sprintf("word %d as %s", i, verb)] = fmt.Sprintf(verb, x)
		}
		for name, order := range map[string]binary.AppendByteOrder{"little": binary.LittleEndian, "big": binary.BigEndian} {
			for form, s := range Forms(order.AppendUint64(nil, w)) {
				forms[fmt.Sprintf("word %d, %s-endian, %s", i, name, form)] = s
			}
		}
	}
	return forms
}

// Leaks returns the forms in which out holds a secret, case aside.
func Leaks(out string, forms map[string]string) (found []string) {
	out = strings.ToLower(out)
	for form, s := range forms {
		if len(s) >= 8 && strings.Contains(out, strings.ToLower(s)) {
			found = append(found, form)
		}
	}
	slices.Sort(found)
	return found
}

// HoldsAll fails the test for each exported type of the package in the folder that the
// table does not hold and that is not among those that hold nothing secret.
func HoldsAll(t *testing.T, folder string, table map[string]any, harmless ...string) {
	t.Helper()
	for _, name := range types(t, folder) {
		if _, ok := table[name]; !ok && !slices.Contains(harmless, name) {
			t.Errorf("%s is not looked at", name)
		}
	}
}

// types returns the exported types that the package in the folder declares, outside of
// tests.
func types(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), folder+"/"+e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			for _, s := range decl.Specs {
				if name := s.(*ast.TypeSpec).Name; name.IsExported() {
					names = append(names, name.Name)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
