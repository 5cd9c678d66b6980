package strictjson_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

func salvage(data string) (string, error) {
	var b strings.Builder
	err := strictjson.Salvage([]byte(data), func(name string, v strictjson.Value, sound bool) {
		fmt.Fprintf(&b, "%q=%s/%t ", name, v.JSON(), sound)
	})
	return b.String(), err
}

func TestSalvage(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,"b":"x"}`:                `"a"=1/true "b"="x"/true `,
		`{"a":1,"a":2}`:                  `"a"=1/true "a"=2/true `,
		`{"a":{"b":1,"b":2},"c":[3]}`:    `"a"={"b":1,"b":2}/false "c"=[3]/true `,
		"{\"a\":\"\xff\",\"b\":1}":       "\"a\"=\"\xff\"/false \"b\"=1/true ",
		`{"a":"\ud800","\u0062" : [ ] }`: `"a"="\ud800"/false "b"=[ ]/true `,
		"\ufeff{\"a\":1}":                `"a"=1/true `,
	} {
		if got, err := salvage(in); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", in, got, err, want)
		}
	}
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `,"a":1}` }
	if _, err := salvage(deep(1000)); err != nil {
		t.Error(err)
	}
	for _, in := range []string{``, `[]`, `{"a":1`, `{"a":1}x`, `{"a":1,}`, `{"a":+1}`, `{"a":1}{}`, "{\"a\":\"\n\"}", deep(1001), deep(100_000), "\ufeff\ufeff{}"} {
		if got, err := salvage(in); err == nil || got != "" {
			t.Errorf("%.40s: taken: %s", in, got)
		}
	}
}

// Integer takes every spelling of the integers that a double holds.
func TestInteger(t *testing.T) {
	for in, want := range map[string]int64{
		`1`: 1, `1.0`: 1, `1e0`: 1, `100e-2`: 1, `-0`: 0, `-0.0`: 0, `1.7672256e12`: 1767225600000, `9007199254740991`: 1<<53 - 1, `-9007199254740991`: -1<<53 + 1, `1e-400`: 0,
	} {
		strictjson.Object([]byte(`{"a":`+in+`}`), func(_ string, v strictjson.Value) error {
			if got, ok := v.Integer(); !ok || got != want {
				t.Errorf("%s: %d, %t", in, got, ok)
			}
			return nil
		})
	}
	for _, in := range []string{`1.5`, `9007199254740992`, `9007199254740993`, `1e16`, `-1e16`, `1e999999999`, `"1"`, `null`, `true`, `[1]`} {
		strictjson.Object([]byte(`{"a":`+in+`}`), func(_ string, v strictjson.Value) error {
			if got, ok := v.Integer(); ok {
				t.Errorf("%s is %d", in, got)
			}
			return nil
		})
	}
}

// FuzzSalvage: what it takes, encoding/json takes as well, and what Object takes it
// hands over in the same way.
func FuzzSalvage(f *testing.F) {
	for _, s := range memberSeeds {
		f.Add([]byte(s))
	}
	f.Add([]byte("\ufeff{\"a\":\"\xff\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := salvage(string(data))
		if err == nil && !json.Valid([]byte(strings.TrimPrefix(string(data), "\ufeff"))) {
			t.Fatalf("took %q", data)
		}
		var b strings.Builder
		if strictjson.Object(data, func(name string, v strictjson.Value) error {
			fmt.Fprintf(&b, "%q=%s/true ", name, v.JSON())
			return nil
		}) == nil && (err != nil || got != b.String()) {
			t.Fatalf("%q: %s, %v; Object has %s", data, got, err, b.String())
		}
	})
}
