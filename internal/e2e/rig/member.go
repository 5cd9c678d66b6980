package rig

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Issuer is who issues the tokens of the tests.
const Issuer = "https://auth.example.com"

// Dial says where a member connects to, with short pauses between reconnects.
func Dial(t *testing.T, url string, opts ...nats.Option) bus.Config {
	t.Helper()
	return bus.Config{
		Servers: url,
		Options: append([]nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond)}, opts...),
	}
}

// Joining is what Join makes a member of: where it connects to, what cfg says and, unless
// it is nil, a List. Its issuer is that of the tests, unless cfg names others.
func Joining(where, cfg bus.Config, l *revoke.List) bus.Config {
	if len(cfg.Issuers) == 0 {
		cfg.Issuers = []string{Issuer}
	}
	if cfg.Logger == nil {
		cfg.Logger = where.Logger
	}
	cfg.Servers, cfg.Conn, cfg.InProcess, cfg.Shared = where.Servers, where.Conn, where.InProcess, where.Shared
	cfg.CredentialsFile, cfg.TLS, cfg.InboxPrefix, cfg.Options = where.CredentialsFile, where.TLS, where.InboxPrefix, where.Options
	cfg.List = l
	return cfg
}

// Join makes a Member, which ends with the test.
func Join(t *testing.T, where, cfg bus.Config, l *revoke.List) *bus.Member {
	t.Helper()
	m, err := bus.Join(Within(t), Joining(where, cfg, l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Quick are intervals small enough for tests and large enough for a busy machine.
// MaxStaleness is as in production.
var Quick = revoke.Config{HeartbeatInterval: 50 * time.Millisecond, MaxSkew: 100 * time.Millisecond}

// NewList returns a List for a stream of CreateStream's.
func NewList(t *testing.T, cfg revoke.Config) *revoke.List {
	t.Helper()
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = Quick.MaxSkew
	}
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// WaitFresh waits until all of them are fresh.
func WaitFresh(t *testing.T, fs ...*bus.Member) {
	t.Helper()
	for _, f := range fs {
		if err := f.WaitFresh(Within(t)); err != nil {
			t.Fatalf("%v; status %+v", err, f.Status())
		}
	}
}

// Barrier waits until the Member has what was published before.
func Barrier(t *testing.T, f *bus.Member) {
	t.Helper()
	if err := f.Barrier(Within(t)); err != nil {
		t.Fatalf("%v; status %+v", err, f.Status())
	}
}

// Publish publishes an event and returns the receipt.
func Publish(t *testing.T, b *bus.Member, e revoke.Event) revoke.Receipt {
	t.Helper()
	r, err := b.Publish(Within(t), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
