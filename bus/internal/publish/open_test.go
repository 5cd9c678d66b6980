package publish

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const testIssuer = "https://auth.example.com"

func decode(subject string, data []byte) (wire.Message, revoke.Fault) {
	return new(wire.Decoder).Decode(subject, data)
}

func vectorKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
}

func sessionEvent(i int) revoke.Event {
	return revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)}
}

// written returns a file that the version before has written.
func written(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "written-by-601627d", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A config is what a test opens a publisher with.
type config struct {
	Issuers    []string
	OutboxFile string
	Logger     *slog.Logger
}

// A core is a publisher on a transport of its own.
type core struct {
	*transport.Transport
	publisher *Publisher
}

func openCore(t testing.TB, conn *transport.Connection, cfg config) (*core, error) {
	t.Helper()
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	b := &core{Transport: transport.New(stream.DefaultName, log)}
	b.Conn = conn
	b.publisher = New(b.Transport, cfg.Issuers, nil, nil)
	return b, b.publisher.Open(t.Context(), cfg.OutboxFile)
}

func (b *core) close() {
	b.Transport.Close()
	b.publisher.Close()
}

// end closes what a bubble holds open before it may end.
func (b *core) end() {
	b.close()
	b.Conn.Close()
	synctest.Wait()
}

func dialScripted(t *testing.T, s *scripted.Server, opts ...nats.Option) *transport.Connection {
	t.Helper()
	opts = append([]nats.Option{nats.SetCustomDialer(s), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	c, err := transport.Dial(transport.Config{Servers: "nats://127.0.0.1:4222", Options: opts})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// newScripted returns a server and a publisher that is connected to it.
func newScripted(t *testing.T, cfg config) (*scripted.Server, *core) {
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
	t.Cleanup(b.close)
	return s, b
}
