//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package issue

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token"
)

// What an error says is what there is to be done: another cause beside the right family would
// have people look at the wrong end.
func TestErrorsSayWhatToDo(t *testing.T) {
	codec := ringCodec{issuer: "i", record: "r", seals: fuzzSeal()}
	set, err := (&KeyringConfig{Algorithm: token.EdDSA}).plan().first(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := codec.encode(set)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSealKey("other", []byte(strings.Repeat("cd", 16)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	open := limitsStore(t)
	if _, err := open.Save(t.Context(), "k", []byte("x"), 0, recordstore.Never); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open.path, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		call   func() error
		family error
		says   string
	}{
		"a file that others can read": {func() error { _, err := open.Load(t.Context(), "k"); return err }, ErrStore, "it needs mode 0600"},
		"sealed, and no keys":         {func() error { _, err := new(ringCodec).decode(sealed); return err }, ErrStoreCorrupt, "there are no SealKeys"},
		"sealed, and another key": {func() error {
			_, err := (&ringCodec{issuer: "i", record: "r", seals: []*SealKey{other}}).decode(sealed)
			return err
		}, ErrStoreCorrupt, `than the SealKeys ["other"]`},
		"no array of keys": {func() error {
			_, err := new(ringCodec).decode([]byte(`{"v":1,"kind":"keyring","gen":3,"keys":{}}`))
			return err
		}, ErrStoreCorrupt, "no keys"},
		"no gen": {func() error {
			_, err := new(ringCodec).decode([]byte(`{"v":1,"kind":"keyring","keys":[]}`))
			return err
		}, ErrStoreCorrupt, "no gen"},
		"no active key": {func() error {
			_, err := new(ringCodec).decode([]byte(`{"v":1,"kind":"keyring","gen":3,"keys":[]}`))
			return err
		}, ErrStoreCorrupt, "0 active keys"},
		"several algorithms": {func() error { _, err := NewSigningKey("", "", key); return err }, token.ErrKey, "several algorithms fit the key"},
	} {
		if err := c.call(); !errors.Is(err, c.family) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want %q", name, err, c.says)
		}
	}
}

// A revoked key is dropped wherever in the set it stands.
func TestRevokedKeysAreDroppedFromAnyPlace(t *testing.T) {
	for place := range 3 {
		p := (&KeyringConfig{Algorithm: token.EdDSA}).plan()
		set := &ringSet{gen: 1}
		for i := range 3 {
			k, err := generateSigningKey(token.EdDSA)
			if err != nil {
				t.Fatal(err)
			}
			state := keyRetired
			if i == (place+1)%3 {
				state = keyActive
			}
			set.keys = append(set.keys, storedKey{SigningKey: k, state: state})
		}
		leaked := set.keys[place].key
		changed, err := p.dropRevoked(set, func(k *token.Key) bool { return k == leaked })
		if err != nil || !changed || set.named(leaked.ID()) >= 0 || len(set.keys) != 2 {
			t.Errorf("at place %d: changed %t, %d keys, error %v", place, changed, len(set.keys), err)
		}
		if changed, err := p.dropRevoked(set, func(*token.Key) bool { return false }); err != nil || changed || len(set.keys) != 2 {
			t.Errorf("none revoked: changed %t, %d keys, error %v", changed, len(set.keys), err)
		}
	}
}

// Text that is no UTF-8 is found in claims however deep it stands, as deep as claims may nest.
func TestBadTextIsFoundAtAnyDepth(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{{"caf\xe9", false}, {"café", true}} {
		list, object := any(c.text), any(c.text)
		for depth := range 101 {
			if validText(list, 0) != c.want || validText(object, 0) != c.want {
				t.Fatalf("%q below %d others: taken for valid", c.text, depth)
			}
			list, object = []any{"x", list}, map[string]any{"x": object}
		}
	}
}
