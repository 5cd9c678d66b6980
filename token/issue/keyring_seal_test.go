package issue_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A ring is not stored where others may read it without a seal and the name of its issuer;
// in a file of one's own it may be. What only looks like a FileStore is none.
func TestOpenKeyringNeedsASeal(t *testing.T) {
	file := fileStore(t, filepath.Join(privateDir(t), "ring.json"))
	wrapped := struct{ *issue.FileStore }{fileStore(t, filepath.Join(privateDir(t), "ring.json"))}
	seals := []*issue.SealKey{sealKey(t, "a")}
	for name, c := range map[string]struct {
		store issue.Store
		cfg   issue.KeyringConfig
		want  string // in the error; empty: it opens
	}{
		"a file, nothing said":            {file, issue.KeyringConfig{}, ""},
		"elsewhere, nothing said":         {new(issue.MemoryStore), issue.KeyringConfig{}, "KeyringConfig.SealKeys is empty"},
		"elsewhere, no seal":              {new(issue.MemoryStore), issue.KeyringConfig{Issuer: forge.Issuer}, "KeyringConfig.SealKeys is empty"},
		"elsewhere, no issuer":            {new(issue.MemoryStore), issue.KeyringConfig{SealKeys: seals}, "KeyringConfig.Issuer is empty"},
		"elsewhere, all said":             {new(issue.MemoryStore), issue.KeyringConfig{Issuer: forge.Issuer, SealKeys: seals}, ""},
		"what wraps a file, nothing said": {wrapped, issue.KeyringConfig{}, "KeyringConfig.SealKeys is empty"},
	} {
		ring, err := issue.OpenKeyring(t.Context(), c.store, c.cfg)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil {
			if r, err := c.store.Load(t.Context(), issue.RingKey(c.cfg.Issuer)); !errors.Is(err, recordstore.ErrNotFound) {
				t.Errorf("%s: %v is stored all the same, error %v", name, r, err)
			}
			continue
		}
		ring.Close()
	}
}

// What is sealed for one issuer, in one record, opens as no other's: anyone who can write to
// the store copies in vain (the additional data of the seal).
func TestKeyringSealIsOfIssuerAndRecord(t *testing.T) {
	const other = "https://auth.example.org"
	store := new(issue.MemoryStore)
	cfg := kept(issue.KeyringConfig{})
	openRing(t, store, cfg)
	copied := new(issue.MemoryStore)
	if _, err := copied.Save(t.Context(), issue.RingKey(other), stored(t, store), 0, later()); err != nil {
		t.Fatal(err)
	}
	cfg.Issuer = other // with the same seal keys
	if ring, err := issue.OpenKeyring(t.Context(), copied, cfg); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), "another issuer") {
		t.Errorf("another issuer's record: error %v", err)
	}
	// The ring of a file, whose record has another key, sealed for the same issuer.
	file := fileStore(t, filepath.Join(privateDir(t), "ring.json"))
	cfg.Issuer = forge.Issuer
	openRing(t, file, cfg)
	r, err := file.Load(t.Context(), issue.RingKey(""))
	if err != nil {
		t.Fatal(err)
	}
	copied = new(issue.MemoryStore)
	put(t, copied, r.Value)
	if ring, err := issue.OpenKeyring(t.Context(), copied, cfg); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), "record") {
		t.Errorf("another key's record: error %v", err)
	}
	copied = new(issue.MemoryStore) // the good twin
	put(t, copied, stored(t, store))
	openRing(t, copied, cfg)
}

// What the version before has sealed for no issuer is taken from a file of one's own, and
// elsewhere only once somebody says so; then it is sealed as it should be.
func TestKeyringSealedForNoIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at, active := forge.AboutWritten(t)
		time.Sleep(time.Until(at.Add(time.Second)))
		seal, err := issue.NewSealKey("sample", []byte("thirty-two bytes of no secret 01"))
		if err != nil {
			t.Fatal(err)
		}
		former := forge.Written(t, "ring-sealed.json")
		cfg := issue.KeyringConfig{Issuer: forge.Issuer, Algorithm: token.ES256, SealKeys: []*issue.SealKey{seal}}
		store := new(issue.MemoryStore)
		put(t, store, former)
		if ring, err := issue.OpenKeyring(t.Context(), store, cfg); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), "InsecureOpenPlain") {
			t.Errorf("error %v", err)
		}
		once := cfg
		once.InsecureOpenPlain = true
		openRing(t, store, once).Close()
		if got := openRing(t, store, cfg).Active().ID(); got != active["sealed"] {
			t.Errorf("active %s, want %s", got, active["sealed"])
		}

		path := filepath.Join(privateDir(t), "ring.json")
		if err := os.WriteFile(path, former, 0o600); err != nil {
			t.Fatal(err)
		}
		file := fileStore(t, path)
		open := func(issuer string) *issue.Keyring {
			cfg.Issuer = issuer
			ring := openRing(t, file, cfg)
			if got := ring.Active().ID(); got != active["sealed"] {
				t.Errorf("issuer %q: active %s, want %s", issuer, got, active["sealed"])
			}
			return ring
		}
		change := func(ring *issue.Keyring) {
			if err := ring.Remove(t.Context(), states(ring, issue.KeyAnnounced)[0]); err != nil {
				t.Fatal(err)
			}
		}
		open(forge.Issuer)
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, former) {
			t.Errorf("the file was changed though nothing was due: error %v", err)
		}
		change(open("")) // now it is in the form of this version
		open("")
		open(forge.Issuer) // named later
		open(forge.Issuer)
		cfg.Issuer = "https://auth.example.org" // and then it is that one's
		if ring, err := issue.OpenKeyring(t.Context(), file, cfg); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) {
			t.Errorf("another issuer: error %v", err)
		}
	})
}

// The rotation of a seal key, with instances that disagree for a while about which comes
// first: nobody writes all the time, and when all agree the ring is sealed by the new one
// and Status says so, no matter which instance wrote last.
func TestSealKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := sealKey(t, "a"), sealKey(t, "b")
		store := &hookedStore{Store: new(issue.MemoryStore)}
		var saves atomic.Int64
		store.save = func(save func() error) error { saves.Add(1); return save() }
		one := openRing(t, store, issue.KeyringConfig{SealKeys: []*issue.SealKey{a}})
		if got := one.Status().SealedBy; got != "a" {
			t.Errorf("sealed by %q, want a", got)
		}
		one.Close()
		old := openRing(t, store, issue.KeyringConfig{SealKeys: []*issue.SealKey{a, b}})
		two := openRing(t, store, issue.KeyringConfig{SealKeys: []*issue.SealKey{b, a}})
		if got := two.Status().SealedBy; got != "b" {
			t.Errorf("sealed by %q, want b", got)
		}
		saves.Store(0)
		time.Sleep(2 * time.Hour)
		if saves := saves.Load(); saves == 0 || saves > 60 { // each of the two every ten minutes at most, or so
			t.Errorf("%d writes in two hours of disagreement", saves)
		}
		if err := old.Remove(t.Context(), states(old, issue.KeyAnnounced)[0]); err != nil { // it seals with the old one
			t.Fatal(err)
		}
		old.Close()
		time.Sleep(20 * time.Minute)
		if got := two.Status().SealedBy; got != "b" {
			t.Errorf("sealed by %q, want b", got)
		}
		openRing(t, store, issue.KeyringConfig{SealKeys: []*issue.SealKey{b}})
		saves.Store(0)
		time.Sleep(24 * time.Hour)
		if saves := saves.Load(); saves != 0 {
			t.Errorf("%d writes in a day on which nothing was to be done", saves)
		}
	})
}

// An Issuer does not sign another's tokens with a ring.
func TestIssuerOfAnotherRing(t *testing.T) {
	ring := openRing(t, new(issue.MemoryStore), issue.KeyringConfig{})
	if _, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.org", Keys: ring}); err == nil || !strings.Contains(err.Error(), "issue: Config.Keys ") {
		t.Errorf("error %v", err)
	}
	if _, err := issue.NewIssuer(issue.Config{Issuer: forge.Issuer, Keys: ring}); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// A service moves from a file, which is plain, to a store that it shares: its keys come
// along, tokens go on being accepted, and what is in the store afterwards counts.
func TestKeyringCopyFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(privateDir(t), "ring.json")
		file := openRing(t, fileStore(t, path), issue.KeyringConfig{})
		issued := forge.Issue(t, forge.NewIssuer(t, file, nil), forge.Request())
		active, announced := file.Active().ID(), states(file, issue.KeyAnnounced)[0]
		file.Close()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}

		store := new(issue.MemoryStore)
		cfg := issue.KeyringConfig{CopyFrom: fileStore(t, path), InsecureOpenPlain: true} // the file was not sealed
		ring := openRing(t, store, cfg)
		if ring.Active().ID() != active || states(ring, issue.KeyAnnounced)[0] != announced {
			t.Errorf("keys %v, in the file %s and %s", kids(ring), active, announced)
		}
		if _, err := forge.RingVerifier(t, ring, token.EdDSA).Verify(t.Context(), issued.Raw()); err != nil {
			t.Error(err)
		}
		if err := ring.Remove(t.Context(), active); err != nil {
			t.Fatal(err)
		}
		if again := openRing(t, store, cfg); again.Active().ID() != announced {
			t.Errorf("%s signs: the file counts again", again.Active().ID())
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file was changed: %v", err)
		}

		// Nothing there, and what cannot be read.
		cfg.CopyFrom = fileStore(t, filepath.Join(privateDir(t), "none.json"))
		openRing(t, new(issue.MemoryStore), cfg)
		cfg.CopyFrom, cfg.InsecureOpenPlain = fileStore(t, path), false
		if ring, err := issue.OpenKeyring(t.Context(), new(issue.MemoryStore), kept(cfg)); ring != nil || !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), "CopyFrom") {
			t.Errorf("a plain ring: %v", err)
		}
	})
}

func later() time.Time { return time.Now().Add(time.Hour) }
