package member_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Calls without a context panic, as the standard library's do, and leave neither a lock
// nor a goroutine behind: who recovers can try again, and close everything.
func TestNoContext(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{})
	var none context.Context
	panics := func(name string, call func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		call()
	}
	file := filepath.Join(t.TempDir(), "outbox")
	cfg := bus.Config{InProcess: srv, Issuers: []string{rig.Issuer}, OutboxFile: file}
	for i := range 2 { // of an outbox that is empty, and of one that is not
		l, err := revoke.NewList(revoke.Config{StateFile: filepath.Join(t.TempDir(), "state")})
		if err != nil {
			t.Fatal(err)
		}
		cfg.List = l
		panics("Join", func() { _, _ = bus.Join(none, cfg) })
		f, err := bus.Join(rig.Within(t), cfg)
		if err != nil {
			t.Fatalf("the good twin: %v", err)
		}
		if _, err := f.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "one"}); err != nil {
			t.Error(i, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := f.WaitFresh(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		panics("Barrier", func() { _ = f.Barrier(none) })
		panics("WaitChange", func() { _, _ = f.WaitChange(none, f.Status()) })
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	panics("embedded.Start", func() { _, _ = embedded.Start(none, embedded.Config{}) })
}
