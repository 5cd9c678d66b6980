package refresh

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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

// What a record holds of one secret is good for no other session, generation or use
// (invariant 10).
func TestSecretsAreBound(t *testing.T) {
	s, successor := newSecret(), newSecret()
	one, two := [16]byte{1}, [16]byte{2}
	if s.hash(useFamily, one) == s.hash(useFamily, two) || s.hash(useFamily, one) == s.hash(useGeneration, one) {
		t.Error("a hash tells neither the session nor the use")
	}
	sealed := s.seal(successor, one, 7)
	if got, err := s.open(sealed, one, 7); err != nil || got != successor {
		t.Errorf("%v", err)
	}
	for name, open := range map[string]func() (secret, error){
		"another session":    func() (secret, error) { return s.open(sealed, two, 7) },
		"another generation": func() (secret, error) { return s.open(sealed, one, 8) },
		"another secret":     func() (secret, error) { return successor.open(sealed, one, 7) },
	} {
		if got, err := open(); err == nil || got != (secret{}) {
			t.Errorf("%s opens it", name)
		}
	}
}

// A cutoff never moves back, by whatever clock the next logout everywhere is made.
func TestCutoffOnlyGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := instances(t, Web, 1500*time.Millisecond, 0)
		ahead, right := two[0], two[1]
		for _, m := range []*Manager{ahead, right} {
			if _, err := m.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		login := Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Recheck: func(context.Context) error { return nil },
		}
		if _, err := right.Login(t.Context(), login); !errors.Is(err, ErrSuperseded) {
			t.Errorf("authenticated before the cutoff: %v", err)
		}
		time.Sleep(time.Second)
		right.mustLogin(t)
	})
}
