package refresh

import (
	"testing"
)

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
