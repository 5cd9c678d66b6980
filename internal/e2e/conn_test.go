package e2e_test

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
	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestUse(t *testing.T) {
	noLeaks(t)
	srv := startServer(t, embedded.Config{Listen: "127.0.0.1:0"})
	finite, _ := plain(t, srv.URL())
	if _, err := bus.Use(finite, bus.UseConfig{}); err == nil || !strings.Contains(err.Error(), "nats.MaxReconnects") || !strings.Contains(err.Error(), "nats.IgnoreAuthErrorAbort") {
		t.Errorf("finite MaxReconnects: %v", err)
	}
	never, _ := plain(t, srv.URL(), nats.NoReconnect(), nats.MaxReconnects(-1))
	if _, err := bus.Use(never, bus.UseConfig{}); err == nil {
		t.Error("NoReconnect accepted")
	}
	closed, _ := plain(t, srv.URL(), nats.MaxReconnects(-1))
	closed.Close()
	if _, err := bus.Use(closed, bus.UseConfig{}); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("closed connection: %v", err)
	}
	if _, err := bus.Use(nil, bus.UseConfig{}); err == nil {
		t.Error("nil accepted")
	}

	var log bytes.Buffer
	// Two equal authentication errors would end it for good, with nobody to tell.
	touchy, _ := plain(t, srv.URL(), nats.MaxReconnects(-1))
	if _, err := bus.Use(touchy, bus.UseConfig{}); err == nil || !strings.Contains(err.Error(), "nats.IgnoreAuthErrorAbort") || strings.Contains(err.Error(), "MaxReconnects") {
		t.Errorf("without IgnoreAuthErrorAbort: %v", err)
	}
	slow, _ := plain(t, srv.URL(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if _, err := bus.Use(slow, bus.UseConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil || !strings.Contains(log.String(), "PingInterval") {
		t.Errorf("two minutes between pings: %v, log %q", err, log.String())
	}
	log.Reset()
	good, _ := plain(t, srv.URL(), nats.MaxReconnects(-1), nats.PingInterval(2*time.Second), nats.IgnoreAuthErrorAbort())
	conn, err := bus.Use(good, bus.UseConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil || log.Len() > 0 {
		t.Fatalf("%v, log %q", err, log.String())
	}
	b := openBus(t, conn)
	if _, err := b.Publish(within(t), token("x")); err != nil {
		t.Error(err)
	}
	b.Close()
	conn.Close()
	if good.IsClosed() {
		t.Error("the user's connection was closed")
	}
}

func TestDialRefusals(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.Dial(ctx, "nats://"+freeAddress(t), bus.DialConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := bus.Dial(within(t), " , ", bus.DialConfig{}); err == nil {
		t.Error("no URL accepted")
	}
	if _, err := bus.Dial(within(t), "nats://"+freeAddress(t)+",http://user:hunter2@localhost:4222", bus.DialConfig{}); err == nil || !strings.Contains(err.Error(), "server URL 2") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a web server's URL: %v", err)
	}
	if _, err := bus.Open(within(t), new(bus.Conn), bus.Config{}); err == nil {
		t.Error("a Conn of nobody's accepted")
	}
	if err := bus.CreateStream(within(t), new(bus.Conn), bus.StreamConfig{}); err == nil {
		t.Error("a Conn of nobody's accepted")
	}
	b := open(t, dial(t, "nats://"+freeAddress(t)), bus.Config{})
	if _, err := b.Follow(within(t), new(revoke.List)); err == nil {
		t.Error("a List of nobody's accepted")
	}
	// Invariant 10: a URL may hold a password.
	if _, err := bus.Dial(within(t), "nats://user:hunter2@[::1", bus.DialConfig{}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	if _, err := bus.Dial(within(t), "nats://"+freeAddress(t), bus.DialConfig{CredentialsFile: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a missing credentials file is found out only later")
	}
}

// The settings that safety depends on win over the caller's.
func TestDialNeverGivesUp(t *testing.T) {
	noLeaks(t)
	srv := startServer(t, embedded.Config{Listen: "127.0.0.1:0"})
	connected := make(chan *nats.Conn, 1)
	conn, err := bus.Dial(within(t), srv.URL(), bus.DialConfig{Options: []nats.Option{
		nats.NoReconnect(), nats.MaxReconnects(1), nats.PingInterval(time.Second), nil,
		nats.ConnectHandler(func(nc *nats.Conn) { connected <- nc }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := (<-connected).Opts
	if !o.AllowReconnect || o.MaxReconnect >= 0 || o.ReconnectBufSize >= 0 || !o.IgnoreAuthErrorAbort || o.PingInterval != time.Second {
		t.Errorf("options %+v", o)
	}
}
