package refresh

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// grown adds members to each object of a record: to what is outermost, and to each step
// and each session of a list.
func grown(tb testing.TB, record []byte, members string) []byte {
	tb.Helper()
	out := record
	for _, first := range []string{`"v":`, `"hash":`, `"s":`} {
		out = bytes.ReplaceAll(out, []byte("{"+first), []byte("{"+members+","+first))
	}
	if bytes.Equal(out, record) {
		tb.Fatalf("nothing was added to %s", record)
	}
	return out
}

// keptAll fails if an object of a record that was read lacks a member in what was written.
func keptAll(t *testing.T, read, written []byte) {
	t.Helper()
	value := func(b []byte) (v any) {
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		return v
	}
	var compare func(path string, a, b any)
	compare = func(path string, a, b any) {
		switch a := a.(type) {
		case map[string]any:
			b, _ := b.(map[string]any)
			for name, x := range a {
				y, ok := b[name]
				if empty := x == nil || reflect.ValueOf(x).IsZero() || reflect.DeepEqual(x, []any{}) || x == json.Number("0"); !ok && empty && anyName(name) {
					continue // left out where this version writes it
				}
				if !ok {
					t.Fatalf("%q is written back as %q, without %s.%s", read, written, path, name)
				}
				compare(path+"."+name, x, y)
			}
		case []any:
			b, _ := b.([]any)
			if len(a) != len(b) {
				t.Fatalf("%q is written back as %q: %s has another length", read, written, path)
			}
			for i := range a {
				compare(path+"[]", a[i], b[i])
			}
		default:
			if !reflect.DeepEqual(a, b) && !(a == "" && b == nil || a == nil && b == "") && path != ".claims" {
				if n, ok := a.(json.Number); !ok || n != json.Number("-0") {
					t.Fatalf("%q is written back as %q: %s was %v and is %v", read, written, path, a, b)
				}
			}
		}
	}
	compare("", value(read), value(written))
}

// anyName reports whether this version knows a member of that name.
func anyName(name string) bool {
	for _, known := range []map[string]bool{sessionNames, stepNames, subjectNames, liveNames, epochNames} {
		if _, ok := known[name]; ok {
			return true
		}
	}
	return false
}

// Every object of a record keeps what it does not know: one that forgot it would lose
// what another version has written, without a word.
func TestEveryObjectKeepsWhatItDoesNotKnow(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			look(typ.Elem())
		case reflect.Struct:
			if seen[typ] || typ == reflect.TypeFor[unknown]() || typ == reflect.TypeFor[place]() {
				return
			}
			seen[typ] = true
			if f, ok := typ.FieldByName("unknown"); !ok || !f.Anonymous {
				t.Errorf("%s has no place for it", typ)
			}
			if !reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Unmarshaler]()) || !reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Marshaler]()) {
				t.Errorf("%s is not read and written by itself", typ)
			}
			for i := range typ.NumField() {
				look(typ.Field(i).Type)
			}
		}
	}
	look(reflect.TypeFor[session]())
	look(reflect.TypeFor[subject]())
	look(reflect.TypeFor[epoch]())
	if len(seen) < 5 {
		t.Errorf("looked at %d types", len(seen))
	}

	for _, record := range [][]byte{seedSession(t), seedSubject(t)} {
		members := `"extra":{"deep":[1,{"x":null}],"text":"<é>"},"n":1.50`
		data := grown(t, record, members)
		var again []byte
		if s, err := decodeSession(data, sidText([16]byte{})); err == nil {
			again, err = encodeRecord(s.clone())
			if err != nil || s.understood() != nil {
				t.Fatalf("%v, %v", err, s.understood())
			}
		} else if s, err := decodeSubject(data); err == nil {
			again, err = encodeRecord(s)
			if err != nil || s.understood() != nil {
				t.Fatalf("%v, %v", err, s.understood())
			}
		} else {
			t.Fatalf("%s: %v", data, err)
		}
		keptAll(t, data, again)
		if want, got := strings.Count(string(data), `"extra"`), strings.Count(string(again), `"extra"`); got != want || want < 2 {
			t.Errorf("%d objects of %d have kept it: %s", got, want, again)
		}
	}
}

// What may be kept is bounded: exactly at the limit it is, one byte more is not read.
func TestUnknownMembersAreBounded(t *testing.T) {
	for name, where := range map[string]string{"the record": `"v":`, "a step": `"hash":`} {
		for over, want := range map[int]bool{-1: true, 0: true, 1: false} {
			text := strings.Repeat("x", maxUnknownBytes-len(`x""`)+over)
			data := bytes.Replace(seedSession(t), []byte("{"+where), []byte(`{"x":"`+text+`",`+where), 1)
			if _, err := decodeSession(data, sidText([16]byte{})); (err == nil) != want {
				t.Errorf("%s, %d bytes over: %v", name, over, err)
			}
		}
	}
	text := strings.Repeat("x", maxUnknownBytes)
	if _, err := decodeSubject(bytes.Replace(seedSubject(t), []byte(`{"s":`), []byte(`{"x":"`+text+`","s":`), 1)); err == nil {
		t.Error("more is read in a session of a list")
	}
	long := `"must":["` + strings.Repeat("x", maxUnknownBytes+1) + `"],`
	if _, err := decodeSubject(bytes.Replace(seedSubject(t), []byte(`"v":`), []byte(long+`"v":`), 1)); err == nil {
		t.Error("a must list without end is read")
	}
}

// What a session of a list must not be read without is written back, be it one member or more.
func TestListsKeepWhatMustNotBeIgnored(t *testing.T) {
	for _, must := range []string{`"must":["x"]`, `"must":["x","y"]`} {
		data := bytes.Replace(seedSubject(t), []byte(`{"s":`), []byte(`{`+must+`,"x":1,"s":`), 1)
		s, err := decodeSubject(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := encodeRecord(s)
		if err != nil || !bytes.Contains(again, []byte(must)) || s.understood() == nil {
			t.Errorf("%s is written back as %s, %v", data, again, err)
		}
	}
}
