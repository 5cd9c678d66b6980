package printtest

import (
	"testing"
)

// TestFindsWhatLeaks: a search that finds nothing where the secret is proves nothing
// where it is not.
func TestFindsWhatLeaks(t *testing.T) {
	secret := []byte("a secret of thirty-two bytes ok!")
	type fixed struct{ k [32]byte }
	type named struct{ Key []byte }
	type text struct{ s string }
	type words struct{ a uint64 }
	type stringer struct{ guarded }
	for name, v := range map[string]any{
		"array": fixed{[32]byte(secret)}, "slice": named{secret}, "pointer": &named{secret}, "text": text{string(secret)},
		"String alone": stringer{guarded{string(secret)}},
	} {
		if len(Leaks(Prints(v), Forms(secret))) == 0 || len(Leaks(Hidden(v), Forms(secret))) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
	if found := Leaks(Prints(words{0x1234567890abcdef}), Words(0x1234567890abcdef)); len(found) < 3 {
		t.Errorf("a number is found as %q", found)
	}
	if found := Leaks(Prints(text{"nothing"}), Forms(secret)); len(found) != 0 {
		t.Errorf("found where it is not: %q", found)
	}
	if types := types(t, "."); len(types) != 0 {
		t.Errorf("types of this package: %q", types)
	}
	if types := types(t, "../../revoke"); len(types) < 15 {
		t.Errorf("types of revoke: %q", types)
	}
}

// guarded redacts itself as far as a Stringer can: not for verbs such as %d.
type guarded struct{ s string }

func (guarded) String() string   { return "guarded" }
func (guarded) GoString() string { return "guarded" }
