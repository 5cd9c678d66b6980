package strictjson_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// byTokens is the plain way to read an object with the library, token by token, and
// with a decoder for each.
func byTokens(data []byte) (names, values []string, err error) {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > 64 {
				return nil, nil, errors.New("too deep")
			}
		case c == '}', c == ']':
			depth--
		}
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil, nil, errors.New("no object")
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		names = append(names, tok.String())
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, nil, err
		}
		values = append(values, string(raw))
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, nil, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, nil, errors.New("data after the object")
	}
	return names, values, nil
}

// checkMembers holds Members, Object and Elements to the library read token by token.
func checkMembers(t *testing.T, data []byte) {
	t.Helper()
	names, values, want := byTokens(data)
	before := bytes.Clone(data)
	text, all, err := strictjson.Members(nil, data)
	if !bytes.Equal(before, data) {
		t.Fatalf("%q was changed", before)
	}
	if (err == nil) != (want == nil) || err != nil && !errors.Is(err, strictjson.ErrSyntax) {
		t.Fatalf("Members(%q): %v, the library says %v", data, err, want)
	}
	called := 0
	err = strictjson.Object(data, func(name string, v strictjson.Value) error {
		if want == nil && (name != names[called] || v.JSON() != values[called]) {
			t.Fatalf("Object(%q): member %d is %q: %s", data, called, name, v.JSON())
		}
		called++
		return nil
	})
	if (err == nil) != (want == nil) || err != nil && !errors.Is(err, strictjson.ErrSyntax) {
		t.Fatalf("Object(%q): %v, the library says %v", data, err, want)
	}
	if want != nil {
		return
	}
	if text != string(data) || len(all) != len(names) || called != len(names) {
		t.Fatalf("Members(%q): %d members and %d calls for %d", data, len(all), called, len(names))
	}
	for i, m := range all {
		if m.Name != names[i] || m.Value.JSON() != values[i] || string(m.Value.Raw()) != values[i] {
			t.Fatalf("Members(%q): member %d is %q: %s", data, i, m.Name, m.Value.JSON())
		}
		checkValue(t, m.Value)
	}
}

func checkValue(t *testing.T, v strictjson.Value) {
	t.Helper()
	raw := jsontext.Value(v.Raw())
	if v.Kind() != byte(raw.Kind()) {
		t.Fatalf("Kind of %s is %q", raw, v.Kind())
	}
	if s, ok := v.Text(); ok != (raw.Kind() == '"') {
		t.Fatalf("Text of %s: %v", raw, ok)
	} else if ok {
		if plain, err := jsontext.AppendUnquote(nil, raw); err != nil || s != string(plain) {
			t.Fatalf("Text of %s is %q, want %q (%v)", raw, s, plain, err)
		}
	}
	if raw.Kind() == '{' {
		checkMembers(t, raw)
	}
	var got []string
	isArray, err := v.Elements(func(v strictjson.Value) error {
		got = append(got, v.JSON())
		checkValue(t, v)
		return nil
	})
	if err != nil || isArray != (raw.Kind() == '[') {
		t.Fatalf("Elements of %s: %v, %v", raw, isArray, err)
	}
	if !isArray {
		return
	}
	dec := jsontext.NewDecoder(bytes.NewReader(raw))
	dec.ReadToken()
	var want []string
	for dec.PeekKind() != ']' {
		e, err := dec.ReadValue()
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(e))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("elements of %s are %q, want %q", raw, got, want)
	}
}

var memberSeeds = []string{
	`{}`, ` { } `, `{"a":1}`, "\t{\r\n\"a\" : 1 , \"b\":\"\"\n}\n", `{"":"","a":"\\","b":"\"","c":"\\\"","d":"\\\\"}`,
	`{"a":{"b":[{"c":"}]"}]},"d":[[],{},"[",null,true,false,-1.5e+9]}`, `{"\u0061":"\ud83d\ude00","b":"é😀"}`, `{"a":[ 1 , 2 ]}`,
	`{"a":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"a":1}{}`, `{"a":1} x`, `{"a":01}`, `{"a":1,}`, `{"a"}`,
	`[]`, `null`, ``, ` `, `{`, `{"a`, `{"a":"`, `{"a":[}`, `{"a":1]`, "\ufeff{}", `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":nul}`, "{\"a\":\"\x01\"}", "{\"a\":1\x00}",
	`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	`{"a":"` + strings.Repeat("[{", 64) + `"}`, strings.Repeat("[", 65), `{"a":[` + strings.Repeat("[],{},", 40) + `0]}`,
}

func TestMembersSeeds(t *testing.T) {
	good := 0
	for _, s := range memberSeeds {
		checkMembers(t, []byte(s))
		if _, _, err := strictjson.Members(nil, []byte(s)); err == nil {
			good++
		}
	}
	if good < 10 || good > len(memberSeeds)-10 {
		t.Errorf("%d of %d seeds are good", good, len(memberSeeds))
	}
}

// FuzzMembers: what the walk over valid text sees is what the library sees token by
// token, and the verdicts are the same.
func FuzzMembers(f *testing.F) {
	for _, s := range memberSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(checkMembers)
}

// Object hands over what stands before an error, and stops where member says so.
func TestObjectStops(t *testing.T) {
	stop := errors.New("stop")
	for in, want := range map[string]string{`{"a":1,"b":2,"c":3}`: "ab", `{"a":1,"b":2,"c":`: "ab", `{"a":1,"a":2`: "a"} {
		var names string
		err := strictjson.Object([]byte(in), func(name string, _ strictjson.Value) error {
			if names += name; name == "b" {
				return stop
			}
			return nil
		})
		if names != want || (err == stop) != (want == "ab") {
			t.Errorf("%s: names %q, error %v", in, names, err)
		}
	}
}

func TestMembersAllocateOnce(t *testing.T) {
	data := []byte(`{"iss":"https://auth.example.com","aud":["a","b"],"exp":1700000000.123,"x":{"y":[1,{"z":null}]}}`)
	var buf [8]strictjson.Member
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, err := strictjson.Members(buf[:0], data); err != nil {
			t.Fatal(err)
		}
	}); n > 1 && !raceEnabled { // under the race detector sync.Pool forgets
		t.Errorf("%v allocations, want one, the copy", n)
	}
}
