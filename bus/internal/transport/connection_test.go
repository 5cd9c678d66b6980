package transport

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

// The handlers that the user gave are called beside ours, and none is no mistake.
func TestUsersHandlersAreCalled(t *testing.T) {
	broken := errors.New("broken")
	call := func(o *nats.Options) {
		o.ReconnectErrCB(nil, broken)
		o.AsyncErrorCB(nil, nil, broken)
		o.DisconnectedErrCB(nil, broken)
		o.DisconnectedErrCB(nil, nil)
	}
	var log scripted.Pages
	c := &Connection{Log: log.Logger()}
	var o nats.Options
	c.observe(&o)
	call(&o)
	var calls []string
	o = nats.Options{
		ReconnectErrCB:    func(_ *nats.Conn, err error) { calls = append(calls, "attempt") },
		AsyncErrorCB:      func(*nats.Conn, *nats.Subscription, error) { calls = append(calls, "async") },
		DisconnectedErrCB: func(*nats.Conn, error) { calls = append(calls, "disconnected") },
	}
	c.observe(&o)
	o.ReconnectErrCB(nil, broken)
	if why := c.failed.Load(); why == nil || *why != broken {
		t.Errorf("why the attempt failed is not kept: %v", why)
	}
	call(&o)
	if len(calls) != 5 {
		t.Errorf("called %q", calls)
	}
	if c.failed.Load() != nil {
		t.Error("why an attempt failed outlives the connection after it")
	}
	if n := log.Count("bus: disconnected"); n != 2 {
		t.Errorf("logged %s", &log)
	}
}

// Settings that freshness depends on are not for options to take back.
func TestDialInsists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		c, err := Dial(Config{Servers: "nats://127.0.0.1:4222", InboxPrefix: "_INBOX_me", Name: "orders", Options: []nats.Option{
			nats.SetCustomDialer(s), nats.NoReconnect(), nats.MaxReconnects(3), nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(8 << 20), nil,
		}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		o := c.NATS().Opts
		if !o.AllowReconnect || o.MaxReconnect != -1 || o.RetryOnFailedConnect || !o.IgnoreAuthErrorAbort || o.ReconnectBufSize != -1 ||
			o.InboxPrefix != "_INBOX_me" || o.Name != "orders" || o.PingInterval != 2*time.Second || o.MaxPingsOut != 2 ||
			o.Timeout != 3*time.Second || o.ReconnectWait != 500*time.Millisecond || o.ReconnectJitter != 500*time.Millisecond || o.ReconnectJitterTLS != 2*time.Second || o.DrainTimeout != 5*time.Second {
			t.Errorf("%+v", o)
		}
		c.Close()
		synctest.Wait()
	})
}

// Servers that cannot be meant are refused, and named by their place in the list, never by
// what may hold a password.
func TestServersThatCannotBeMeant(t *testing.T) {
	for servers, want := range map[string]string{
		"": "no server URL", " , ,": "no server URL",
		"http://a:secret@b":               "server URL 1",
		"nats://127.0.0.1:1, redis://x:y": "server URL 2",
		"nats://a:b c@127.0.0.1:x":        "unreadable server URL",
	} {
		conn, err := Dial(Config{Servers: servers})
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "b c") {
			t.Errorf("%q: %v, want %q", servers, err, want)
		}
	}
	for _, servers := range []string{"127.0.0.1:1", "nats://127.0.0.1:1", "ws://127.0.0.1:1", ",nats://127.0.0.1:1, ", "tls://127.0.0.1:1", "wss://127.0.0.1:1"} {
		conn, err := Dial(Config{Servers: servers})
		if err != nil {
			t.Errorf("%q: %v", servers, err)
			continue
		}
		conn.Close()
	}
}

func TestConnOfTheCallerIsLookedAt(t *testing.T) {
	for name, c := range map[string]struct {
		option     nats.Option
		says, warn string
	}{
		"as it should be":       {func(*nats.Options) error { return nil }, "", ""},
		"a finite MaxReconnect": {nats.MaxReconnects(60), "MaxReconnects", ""},
		"no reconnecting":       {nats.NoReconnect(), "econnect", ""},
		"an ending by password": {func(o *nats.Options) error { o.IgnoreAuthErrorAbort = false; return nil }, "IgnoreAuthErrorAbort", ""},
		"a slow ping":           {nats.PingInterval(5*time.Second + 1), "", "PingInterval"},
		"a quick ping":          {nats.PingInterval(5 * time.Second), "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log scripted.Pages
			nc, err := nats.Connect("nats://127.0.0.1:4222", nats.SetCustomDialer(scripted.New(t)), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(time.Second), c.option)
			if err != nil {
				t.Fatal(err)
			}
			defer synctest.Wait()
			defer nc.Close()
			conn, err := Use(nc, true, log.Logger())
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil && !conn.shared {
				t.Errorf("%s: Shared is forgotten", name)
			}
			if log.Count(c.warn) == 0 || c.warn == "" && log.String() != "" {
				t.Errorf("%s: logged %q", name, &log)
			}
		})
	}
}
