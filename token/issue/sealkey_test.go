package issue_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func sealSecret(id string) []byte {
	sum := sha256.Sum256([]byte("seal " + id))
	return sum[:]
}

func sealKey(t testing.TB, id string) *issue.SealKey {
	t.Helper()
	k, err := issue.NewSealKey(id, sealSecret(id))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewSealKeyRefuses(t *testing.T) {
	good := sealSecret("x")
	for name, x := range map[string]struct {
		id   string
		key  []byte
		want error
	}{
		"good":         {"2026-10", good, nil},
		"no id":        {"", good, token.ErrKey},
		"long id":      {strings.Repeat("a", 65), good, token.ErrKey},
		"id with ü":    {"ü", good, token.ErrKey},
		"id with \\n":  {"a\n", good, token.ErrKey},
		"short":        {"a", good[:31], jose.ErrWeak},
		"long":         {"a", append(bytes.Clone(good), 1), jose.ErrWeak},
		"all one byte": {"a", make([]byte, 32), jose.ErrWeak},
		"placeholder":  {"a", []byte("changeme-changeme-changeme-12345"), token.ErrKey},
		"a path":       {"a", []byte("/run/secrets/hybridtoken/sealkey"), token.ErrKey},
	} {
		if k, err := issue.NewSealKey(x.id, x.key); !errors.Is(err, x.want) || err != nil && !errors.Is(err, token.ErrKey) || (k == nil) != (x.want != nil) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A stored ring is sealed, opens with every key given, and with no other; anyone who
// changes a byte of it gets nothing.
func TestSealedKeyring(t *testing.T) {
	store := new(issue.MemoryStore)
	a, b := sealKey(t, "seal-a"), sealKey(t, "seal-b")
	sealed := func(keys ...*issue.SealKey) issue.KeyringConfig { return issue.KeyringConfig{SealKeys: keys} }
	active := openRing(t, store, sealed(a)).Active().ID()
	blob := stored(t, store)
	if bytes.Contains(blob, []byte("pkcs8")) || bytes.Contains(blob, []byte(active)) || !bytes.Contains(blob, []byte(`"seal":"seal-a"`)) {
		t.Errorf("stored: %s", blob)
	}
	otherSecret, err := issue.NewSealKey("seal-a", sealSecret("another"))
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := issue.NewSealKey("seal-c", sealSecret("seal-a"))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		blob []byte
		cfg  issue.KeyringConfig
	}{
		"another key":     {blob, sealed(b)},
		"wrong secret":    {blob, sealed(otherSecret)},
		"under a new id":  {bytes.Replace(blob, []byte("seal-a"), []byte("seal-c"), 1), sealed(renamed)}, // the id is bound
		"truncated":       {blob[:len(blob)-3], sealed(a)},
		"empty box":       {[]byte(`{"v":2,"kind":"sealed keyring","seal":"seal-a","box":""}`), sealed(a)},
		"short box":       {[]byte(`{"v":2,"kind":"sealed keyring","seal":"seal-a","box":"AAAA"}`), sealed(a)},
		"plain in a seal": {sealedPlain(t), sealed(a)},
	} {
		opened, err := open(t, x.blob, x.cfg)
		if opened || !errors.Is(err, issue.ErrStoreCorrupt) || !errors.Is(err, issue.ErrStore) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		if opened, err := open(t, bad, sealed(a)); opened || !errors.Is(err, issue.ErrStoreCorrupt) {
			t.Fatalf("byte %d changed: error %v", i, err)
		}
	}
	if opened, err := open(t, blob, sealed(b, a)); !opened {
		t.Errorf("the good twin: %v", err)
	}

	// Rotation of the seal: behind, in front, and the old one is not needed any more.
	if got := openRing(t, store, sealed(a, b)).Active().ID(); got != active {
		t.Errorf("active %s, want %s", got, active)
	}
	if blob = stored(t, store); !bytes.Contains(blob, []byte("seal-a")) {
		t.Error("sealed anew with a key that is not the first")
	}
	openRing(t, store, sealed(b, a))
	if got := openRing(t, store, sealed(b)).Active().ID(); got != active {
		t.Errorf("active %s, want %s", got, active)
	}
}

// sealedPlain returns a plain ring where a sealed one is expected: a downgrade by
// anyone who can write to the store.
func sealedPlain(t testing.TB) []byte {
	t.Helper()
	store := fileStore(t, filepath.Join(privateDir(t), "ring.json"))
	openRing(t, store, issue.KeyringConfig{})
	r, err := store.Load(t.Context(), issue.RingKey(""))
	if err != nil {
		t.Fatal(err)
	}
	return r.Value
}

func open(t testing.TB, blob []byte, cfg issue.KeyringConfig) (bool, error) {
	t.Helper()
	store := new(issue.MemoryStore)
	put(t, store, blob)
	ring, err := issue.OpenKeyring(t.Context(), store, kept(cfg))
	if err != nil {
		if leak := forge.Leaks(err.Error(), string(blob)); leak != "" && !strings.HasPrefix(leak, "seal") {
			t.Errorf("error %q repeats %q of the blob (invariant 10)", err, leak)
		}
		return false, err
	}
	ring.Close()
	return true, nil
}

// Who begins to seal says so once.
func TestKeyringBeginsToSeal(t *testing.T) {
	store := fileStore(t, filepath.Join(privateDir(t), "ring.json"))
	active := openRing(t, store, issue.KeyringConfig{}).Active().ID()
	cfg := issue.KeyringConfig{SealKeys: []*issue.SealKey{sealKey(t, "a")}}
	if _, err := issue.OpenKeyring(t.Context(), store, cfg); !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), "InsecureOpenPlain") {
		t.Errorf("plain: error %v", err)
	}
	cfg.InsecureOpenPlain = true
	openRing(t, store, cfg)
	cfg.InsecureOpenPlain = false
	if got := openRing(t, store, cfg).Active().ID(); got != active {
		t.Errorf("active %s, want %s", got, active)
	}
}
