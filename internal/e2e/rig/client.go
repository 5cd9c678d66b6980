package rig

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
)

// Connection makes a plain one to where a member would connect to.
func Connection(t *testing.T, where bus.Config) *nats.Conn {
	t.Helper()
	opts := append([]nats.Option{nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.RetryOnFailedConnect(true)}, where.Options...)
	if where.InProcess != nil {
		opts = append(opts, nats.InProcessServer(where.InProcess))
	}
	nc, err := nats.Connect(where.Servers, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Client returns an ordinary NATS client.
func Client(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	var nc *nats.Conn
	AskUntil(t, "connected to "+url, func(context.Context) (err error) { // within its own two seconds
		nc, err = nats.Connect(url, opts...)
		return err
	})
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}
