package bus

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A call without a context panics, as the standard library does. Who recovers, as
// net/http's server does, can still close the Bus.
func TestCloseAfterNilContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Bus{log: logger(nil)}
		b.ctx, b.cancel = context.WithCancel(context.Background())
		b.publisher.b, b.asker.b = b, b
		event := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "s"}
		var none context.Context
		for name, call := range map[string]func(){
			"Publish":       func() { _, _ = b.Publish(none, event) },
			"PublishAll":    func() { _, _ = b.PublishAll(none, []revoke.Event{event}) },
			"RevokeAndWait": func() { _, _ = b.RevokeAndWait(none, event, WaitConfig{}) },
			"Follow":        func() { _, _ = b.Follow(none, nil) },
			"Dial":          func() { _, _ = Dial(none, "nats://127.0.0.1:1", DialConfig{}) },
			"CreateStream":  func() { _ = CreateStream(none, connOf(&nats.Conn{}), StreamConfig{}) },
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
		if err := b.Close(); err != nil { // hangs, and synctest says so
			t.Error(err)
		}
	})
}
