package rig

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
)

// StartEmbedded starts an embedded server and closes it with the test.
func StartEmbedded(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	srv, err := embedded.Start(Within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// Publishing starts a server and a Member that publishes to it.
func Publishing(t *testing.T, cfg embedded.Config) (*embedded.Server, *bus.Member) {
	t.Helper()
	srv := StartEmbedded(t, cfg)
	return srv, Join(t, bus.Config{InProcess: srv}, bus.Config{}, nil)
}
