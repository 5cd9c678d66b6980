package bus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

// A roll call that begins while the connection has ended for good, and another is yet to be
// made, hears what comes over that one, like one that begins before there is any.
func TestListenWhileThereIsNoConnection(t *testing.T) {
	for _, first := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted.New(t)
			s.Do(func() { s.Poison, s.Refuses = "poison", first })
			m, err := Join(t.Context(), Config{Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer}, Options: []nats.Option{nats.SetCustomDialer(s)}})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			synctest.Wait()
			if !first {
				s.Do(func() { s.Refuses = true })
				nc := m.core.NATS()
				if err := nc.Publish("x", []byte("poison")); err != nil {
					t.Fatal(err)
				}
				if time.Sleep(time.Second); !nc.IsClosed() {
					t.Fatal("the connection has not ended")
				}
			}
			heard := make(chan *nats.Msg, 1)
			if err := m.core.caller.Listen("_INBOX.here", 1, func(m *nats.Msg) { heard <- m }); err != nil {
				t.Fatalf("before the first connection %t: %v", first, err)
			}
			s.Do(func() { s.Refuses = false })
			time.Sleep(time.Minute)
			if err := m.core.NATS().Publish("_INBOX.here.1", []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if msg := <-heard; string(msg.Data) != "hello" {
				t.Errorf("heard %q", msg.Data)
			}
			m.Close()
			synctest.Wait()
		})
	}
}
