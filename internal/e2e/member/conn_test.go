package member_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestConnOfTheCaller(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	use := func(nc *nats.Conn, log *slog.Logger) (*bus.Member, error) {
		m, err := bus.Join(rig.Within(t), bus.Config{Conn: nc, Issuers: []string{rig.Issuer}, Logger: log})
		if err == nil {
			t.Cleanup(func() { m.Close() })
		}
		return m, err
	}
	finite, _ := rig.Client(t, srv.URL())
	if _, err := use(finite, nil); err == nil || !strings.Contains(err.Error(), "nats.MaxReconnects") || !strings.Contains(err.Error(), "nats.IgnoreAuthErrorAbort") {
		t.Errorf("finite MaxReconnects: %v", err)
	}
	never, _ := rig.Client(t, srv.URL(), nats.NoReconnect(), nats.MaxReconnects(-1))
	if _, err := use(never, nil); err == nil {
		t.Error("NoReconnect accepted")
	}
	closed, _ := rig.Client(t, srv.URL(), nats.MaxReconnects(-1))
	closed.Close()
	if _, err := use(closed, nil); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("closed connection: %v", err)
	}
	if _, err := use(nil, nil); err == nil {
		t.Error("nil accepted")
	}

	var log bytes.Buffer
	// Two equal authentication errors would end it for good, with nobody to tell.
	touchy, _ := rig.Client(t, srv.URL(), nats.MaxReconnects(-1))
	if _, err := use(touchy, nil); err == nil || !strings.Contains(err.Error(), "nats.IgnoreAuthErrorAbort") || strings.Contains(err.Error(), "MaxReconnects") {
		t.Errorf("without IgnoreAuthErrorAbort: %v", err)
	}
	slow, _ := rig.Client(t, srv.URL(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if _, err := use(slow, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "PingInterval") {
		t.Errorf("two minutes between pings: %v, log %q", err, log.String())
	}
	log.Reset()
	good, _ := rig.Client(t, srv.URL(), nats.MaxReconnects(-1), nats.PingInterval(2*time.Second), nats.IgnoreAuthErrorAbort())
	b, err := use(good, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || strings.Contains(log.String(), "nats.") {
		t.Fatalf("%v, log %q", err, log.String())
	}
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); err != nil {
		t.Error(err)
	}
	b.Close()
	if good.IsClosed() {
		t.Error("the user's connection was closed")
	}
}

func TestJoinRefusals(t *testing.T) {
	rig.NoLeaks(t)
	refused := func(ctx context.Context, cfg bus.Config) error {
		if cfg.List == nil {
			cfg.Issuers = []string{rig.Issuer}
		}
		m, err := bus.Join(ctx, cfg)
		if err == nil {
			m.Close()
		}
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := refused(ctx, bus.Config{Servers: "nats://" + rig.FreeAddress(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := refused(rig.Within(t), bus.Config{Servers: " , "}); err == nil {
		t.Error("no URL accepted")
	}
	if err := refused(rig.Within(t), bus.Config{Servers: "nats://" + rig.FreeAddress(t) + ",http://user:hunter2@localhost:4222"}); err == nil || !strings.Contains(err.Error(), "server URL 2") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a web server's URL: %v", err)
	}
	if err := bus.CreateStream(rig.Within(t), nil, bus.StreamConfig{}); err == nil {
		t.Error("a stream is made over no connection")
	}
	if err := refused(rig.Within(t), bus.Config{Servers: "nats://" + rig.FreeAddress(t), List: new(revoke.List)}); err == nil {
		t.Error("a List that NewList has not made is accepted")
	}
	// Invariant 10: a URL may hold a password.
	if err := refused(rig.Within(t), bus.Config{Servers: "nats://user:hunter2@[::1"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	if err := refused(rig.Within(t), bus.Config{Servers: "nats://" + rig.FreeAddress(t), CredentialsFile: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a missing credentials file is found out only later")
	}
}

// The settings that safety depends on win over the caller's.
func TestJoinNeverGivesUp(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	connected := make(chan *nats.Conn, 1)
	m, err := bus.Join(rig.Within(t), bus.Config{Servers: srv.URL(), Issuers: []string{rig.Issuer}, Options: []nats.Option{
		nats.NoReconnect(), nats.MaxReconnects(1), nats.PingInterval(time.Second), nil,
		nats.ConnectHandler(func(nc *nats.Conn) { connected <- nc }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := (<-connected).Opts
	if !o.AllowReconnect || o.MaxReconnect >= 0 || o.ReconnectBufSize >= 0 || !o.IgnoreAuthErrorAbort || o.PingInterval != time.Second {
		t.Errorf("options %+v", o)
	}
}
