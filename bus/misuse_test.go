package bus

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A call without a context panics, as the standard library does. Who recovers, as
// net/http's server does, can still close the Member.
func TestCloseAfterNilContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &core{log: logger(nil)}
		b.ctx, b.cancel = context.WithCancel(context.Background())
		b.publisher.b, b.asker.b = b, b
		event := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "s"}
		var none context.Context
		for name, call := range map[string]func(){
			"Publish":       func() { _, _ = b.publishEvent(none, event) },
			"PublishAll":    func() { _, _ = b.publishAll(none, []revoke.Event{event}) },
			"RevokeAndWait": func() { _, _ = b.revokeAndWait(none, event, WaitConfig{}) },
			"Join":          func() { _, _ = Join(none, Config{}) },
			"Dial":          func() { _, _ = dialServers(none, "nats://127.0.0.1:1", dialConfig{}) },
			"CreateStream":  func() { _ = CreateStream(none, &nats.Conn{}, StreamConfig{}) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				call()
			}()
		}
		if err := b.close(); err != nil { // hangs, and synctest says so
			t.Error(err)
		}
	})
}
