package refresh

import (
	"strings"
	"testing"
)

// No two records share a key, whatever subjects and issuers are called, and every key is
// one that a Store takes.
func TestRecordKeys(t *testing.T) {
	seen := map[string][3]string{}
	for _, kind := range []string{"s", "u"} {
		for _, x := range [][2]string{
			{"", ""}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"b", "a"}, {"a", "b "}, {"a", ">"}, {"a", "*"}, {"a", "b.c"}, {"a.b", "c"},
			{"a", "\x00\x00\x00\x01b"}, {"a\x00", "b"}, {"https://a", "ü"}, {"https://a/", "ü"}, {"a", strings.Repeat("x", 10<<10)}, {"a", "A"}, {"A", "a"},
		} {
			key := recordKey(kind, x[0], x[1])
			if err := CheckRecord(key, nil); err != nil {
				t.Errorf("%q: %v", x, err)
			}
			if other, ok := seen[key]; ok {
				t.Errorf("%s, %q and %q share a key", kind, x, other)
			}
			seen[key] = [3]string{kind, x[0], x[1]}
		}
	}
	// What is hashed has its length before it.
	if recordKey("s", "a", "\x00\x00\x00\x01b") == recordKey("s", "a\x00\x00\x00\x01b", "") || recordKey("s", "ab", "c") == recordKey("s", "a", "bc") {
		t.Error("a text that ends elsewhere has the same key")
	}
}

// What is made of a record that was read leaves the record as it was: it may be asked again.
func TestCloneLeavesTheRecord(t *testing.T) {
	s := &session{Steps: []step{{Until: 1_000_000}, {Until: 5}}, Held: []span{{1, 2}}}
	c := s.clone()
	c.cutWindows(0, 10, 1)
	c.Held[0] = span{3, 4}
	if c.Steps[0].Until != 10 || s.Steps[0].Until != 1_000_000 || s.Held[0] != (span{1, 2}) {
		t.Errorf("the record is %+v and %+v, its copy %+v", s.Steps, s.Held, c.Steps)
	}
}
