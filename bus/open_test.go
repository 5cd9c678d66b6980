package bus

import (
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

func openCore(t testing.TB, conn *transport.Connection, cfg Config) (*core, error) {
	t.Helper()
	b, err := newCore(cfg)
	if err != nil {
		return nil, err
	}
	return b, b.open(t.Context(), conn)
}

// newScripted returns such a server and a Member that is connected to it.
func newScripted(t *testing.T, cfg Config) (*scripted.Server, *core) {
	t.Helper()
	s := scripted.New(t)
	conn, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s)}, Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if len(cfg.Issuers) == 0 {
		cfg.Issuers = []string{testIssuer}
	}
	b, err := openCore(t, conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return s, b
}

// end closes what a bubble holds open before it may end.
func (b *core) end() {
	b.close()
	b.Conn.Close()
	synctest.Wait()
}
