package issue_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A call without a context panics, as everywhere, before anything of it is done: the ring goes
// on and can be closed.
func TestKeyringWithoutContext(t *testing.T) {
	var none context.Context
	store := new(issue.MemoryStore)
	if !panics(func() { _, _ = issue.OpenKeyring(none, store, kept(issue.KeyringConfig{})) }) {
		t.Error("OpenKeyring: no panic")
	}
	if _, err := store.Load(t.Context(), issue.RingKey(forge.Issuer)); !errors.Is(err, recordstore.ErrNotFound) {
		t.Error("a key was stored all the same")
	}
	shared, err := issue.OpenKeyring(t.Context(), store, kept(issue.KeyringConfig{}))
	if err != nil {
		t.Fatal(err)
	}
	ephemeral, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for name, ring := range map[string]*issue.Keyring{"shared": shared, "ephemeral": ephemeral} {
		active := ring.Active()
		for what, call := range map[string]func(context.Context) error{
			"Rotate":  func(ctx context.Context) error { _, err := ring.Rotate(ctx); return err },
			"Remove":  func(ctx context.Context) error { return ring.Remove(ctx, "x") },
			"Refresh": ring.Refresh,
		} {
			if !panics(func() { _ = call(none) }) {
				t.Errorf("%s.%s: no panic", name, what)
			}
		}
		if ring.Active() != active {
			t.Errorf("%s: rotated", name)
		}
		if _, err := ring.Rotate(t.Context()); err != nil {
			t.Errorf("%s: the good twin: %v", name, err)
		}
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	}
}

func panics(call func()) (did bool) {
	defer func() { did = recover() != nil }()
	call()
	return
}
