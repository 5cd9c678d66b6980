package follow

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/publish"
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

// A config is what a test makes followers and a publisher with.
type config struct {
	Issuers      []string
	Name         string
	NoHeartbeats bool
	Signer       crypto.Signer
	Trust        []ed25519.PublicKey
	Logger       *slog.Logger
}

// A core is what followers and a publisher hang on, as those of a bus.Member do.
type core struct {
	*transport.Transport
	cfg       Config
	publisher *publish.Publisher
}

func openCore(t testing.TB, conn *transport.Connection, cfg config) (*core, error) {
	t.Helper()
	signer, err := wire.NewSigner(cfg.Signer)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := wire.NewTrust(cfg.Trust)
	if err != nil {
		t.Fatal(err)
	}
	b := &core{Transport: transport.New(stream.DefaultName, transport.Logger(cfg.Logger))}
	b.Conn = conn
	b.publisher = publish.New(b.Transport, cfg.Issuers, signer, trust)
	b.cfg = Config{Name: cfg.Name, NoHeartbeats: cfg.NoHeartbeats, Signer: signer, Trust: trust, Suspect: b.publisher.Suspect}
	return b, b.publisher.Open(t.Context(), "")
}

func (b *core) followConfig() Config { return b.cfg }

func (b *core) follow(list *revoke.List) (*Follower, error) {
	f, err := Start(b.Transport, list, b.cfg)
	if err == nil {
		b.publisher.StartWatch()
	}
	return f, err
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

// newScripted returns a server and what is connected to it.
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
