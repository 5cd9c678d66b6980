package transport

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Followers of one connection do not move it one after the other, and one that is shared
// is never moved.
func TestConnectionMovesOnce(t *testing.T) {
	nc, err := nats.Connect("nats://127.0.0.1:1,nats://127.0.0.1:2", nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conn, err := Ask(nc)
	if err != nil {
		t.Fatal(err)
	}
	const gap = time.Minute
	began := revoke.Now()
	for _, c := range []struct{ at, want time.Duration }{{0, 0}, {gap - 1, 0}, {gap, gap}, {gap + time.Second, gap}, {3 * gap, 3 * gap}} {
		_ = conn.Move(began.Add(c.at), gap) // there is nothing to move to
		if got := time.Duration(conn.movedAt.Load() - began.Mono); got != c.want {
			t.Errorf("after %s: moved after %s, want %s", c.at, got, c.want)
		}
	}
	moved := conn.movedAt.Load()
	conn.shared = true
	if err := conn.Move(began.Add(10*gap), gap); !errors.Is(err, errIsShared) || conn.movedAt.Load() != moved {
		t.Errorf("shared: %v", err)
	}
}

// Several addresses, or a name that may stand for several servers, are worth a move.
func TestAlone(t *testing.T) {
	for _, c := range []struct {
		servers []string
		alone   bool
	}{
		{[]string{"nats://127.0.0.1:4222"}, true},
		{[]string{"nats://127.0.0.1:4222", "nats://127.0.0.1:4222"}, true},
		{[]string{"nats://127.0.0.1:4222", "nats://127.0.0.1:4223"}, false},
		{[]string{"tls://[2001:db8::1]:4222"}, true},
		{[]string{"nats://nats:4222"}, false},
		{nil, true},
	} {
		if got := alone(c.servers); got != c.alone {
			t.Errorf("%q: %v", c.servers, got)
		}
	}
}
