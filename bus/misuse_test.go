package bus

import (
	"context"
	"crypto"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A call without a context panics, as the standard library does. Who recovers, as
// net/http's server does, can still close the Member.
func TestCloseAfterNilContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := newCore(Config{Issuers: []string{testIssuer}})
		if err != nil {
			t.Fatal(err)
		}
		event := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSession, Value: "s"}
		var none context.Context
		for name, call := range map[string]func(){
			"Publish":      func() { _, _ = b.publisher.Publish(none, event) },
			"PublishAll":   func() { _, _ = b.publisher.PublishAll(none, []revoke.Event{event}) },
			"Join":         func() { _, _ = Join(none, Config{}) },
			"CreateStream": func() { _ = CreateStream(none, &nats.Conn{}, StreamConfig{}) },
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
		b.close() // hangs, and synctest says so
	})
}

// A key whose Public panics, as a nil pointer to one of a KMS does.
type panickingKey struct{ crypto.Signer }

// A program that recovers from a panic in Join has no Member to close.
func TestJoinThatPanicsLeavesNothing(t *testing.T) {
	s := scripted.New(t)
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s)}, Issuers: []string{testIssuer}, List: list, Signer: panickingKey{}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = Join(t.Context(), cfg)
	}()
	open := func() (n int) {
		s.Do(func() { n = len(s.Conns) })
		return n
	}
	for deadline := time.Now().Add(10 * time.Second); open() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("a connection is left, which nobody can close")
		}
	}
	cfg.Signer = nil
	m, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
