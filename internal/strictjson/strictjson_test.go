package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

func TestObjectRefusesWhatParsersDisagreeOn(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                  ``,
		"null":                   `null`,
		"array":                  `[]`,
		"string":                 `"x"`,
		"duplicate":              `{"a":1,"a":2}`,
		"duplicate by escape":    `{"a":1,"\u0061":2}`,
		"duplicate in depth":     `{"a":{"b":[{"c":1,"c":1}]}}`,
		"invalid UTF-8 in value": "{\"a\":\"\xff\"}",
		"invalid UTF-8 in name":  "{\"\xff\":1}",
		"lone surrogate":         `{"a":"\ud800"}`,
		"object after":           `{"a":1}{"a":2}`,
		"garbage after":          `{"a":1}x`,
		"NUL after":              "{\"a\":1}\x00",
		"truncated":              `{"a":1`,
		"trailing comma":         `{"a":1,}`,
		"comment":                `{"a":1/**/}`,
		"single quotes":          `{'a':1}`,
		"NaN":                    `{"a":NaN}`,
		"leading zero":           `{"a":01}`,
		"byte order mark":        "\ufeff{}",
		"control character":      "{\"a\":\"\n\"}",
		"deep nesting":           `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"a little too deep":      `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		"deep and unclosed":      strings.Repeat(`{"a":`, 65),
	} {
		err := strictjson.Object([]byte(in), func(string, strictjson.Value) error { return nil })
		if !errors.Is(err, strictjson.ErrSyntax) {
			t.Errorf("%s: Object(%.40q) = %v, want ErrSyntax", name, in, err)
		}
	}
}

func TestObjectReadsItsGoodTwin(t *testing.T) {
	deep := `{"a":` + strings.Repeat("[", 63) + `"\\\"[[[[["` + strings.Repeat("]", 63) + `}`
	if err := strictjson.Object([]byte(deep), func(string, strictjson.Value) error { return nil }); err != nil {
		t.Errorf("nested as deep as allowed: %v", err)
	}
	in := ` {"a":1,"b":"x\u0079\n","c":[true,false,"z"],"d":{"a":1},"\u0065":null,"f":1.5,"g":-3} `
	var names []string
	err := strictjson.Object([]byte(in), func(name string, v strictjson.Value) error {
		names = append(names, name)
		switch name {
		case "a":
			if n, ok := v.Int(); !ok || n != 1 {
				t.Errorf("a = %d, %v", n, ok)
			}
		case "b":
			if s, ok := v.Text(); !ok || s != "xy\n" {
				t.Errorf("b = %q, %v", s, ok)
			}
		case "c":
			n := 0
			if ok, err := v.Elements(func(strictjson.Value) error { n++; return nil }); !ok || err != nil || n != 3 {
				t.Errorf("c: %v, %v, %d elements", ok, err, n)
			}
		case "f":
			if _, ok := v.Int(); ok {
				t.Error("1.5 taken for an integer")
			}
		case "g":
			if n, ok := v.Int(); !ok || n != -3 {
				t.Errorf("g = %d, %v", n, ok)
			}
		}
		return nil
	})
	if got := strings.Join(names, ""); err != nil || got != "abcdefg" {
		t.Errorf("names %q, error %v", got, err)
	}
}

func TestErrorsNeverQuoteTheInput(t *testing.T) {
	err := strictjson.Object([]byte(`{"secret-name":"secret-value","secret-name":2}`), func(string, strictjson.Value) error { return nil })
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

// FuzzObject holds Object to what encoding/json accepts: it may only be stricter.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,{"b":null}]}`, `{"a":1,"a":2}`, `{"\u0061":"\n"}`, `[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		seen := map[string]bool{}
		err := strictjson.Object(data, func(name string, v strictjson.Value) error {
			if seen[name] {
				t.Fatalf("duplicate name reached the caller in %q", data)
			}
			seen[name] = true
			if s, ok := v.Text(); ok {
				q, err := strictjson.AppendText(nil, s)
				if err != nil || !json.Valid(q) {
					t.Fatalf("AppendText(%q) = %q, %v", s, q, err)
				}
			}
			return nil
		})
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			// encoding/json refuses numbers beyond float64 only when it converts them.
			if ute := (*json.UnmarshalTypeError)(nil); !errors.As(err, &ute) {
				t.Fatalf("Object accepted %q, encoding/json says %v", data, err)
			}
		} else if len(m) != len(seen) {
			t.Fatalf("%d members, encoding/json sees %d in %q", len(seen), len(m), data)
		}
	})
}
