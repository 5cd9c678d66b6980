package mirrors_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A mirror holds what its origin holds, and can be followed; CreateStream does not
// take it for the stream, and nothing is published to it.
func TestMirror(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	origin := rig.TheStream(t, js).CachedInfo().Config
	c := origin
	c.Name, c.Subjects, c.Mirror, c.AllowAtomicPublish = "COPY", nil, &jetstream.StreamSource{Name: origin.Name}, false
	if _, err := js.CreateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), bus.StreamConfig{Name: "COPY", Replicas: 1, MaxBytes: origin.MaxBytes}); !errors.Is(err, bus.ErrStreamExists) || !strings.Contains(err.Error(), "mirror") {
		t.Errorf("CreateStream: %v", err)
	}
	l := rig.NewList(t, rig.Quick)
	b := rig.Join(t, conn, bus.Config{Stream: "COPY"}, l)
	if _, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "x"}); !errors.Is(err, bus.ErrStreamUnsafe) || !strings.Contains(err.Error(), "mirror") {
		t.Errorf("Publish: %v", err)
	}
	rig.WaitFresh(t, b)
	if s := b.Status(); len(s.Hazards) != 0 {
		t.Errorf("hazards %q", s.Hazards)
	}
	rig.Publish(t, rig.Join(t, conn, bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "y"})
	rig.Barrier(t, b)
	rig.MustRefuse(t, l, rig.Session("y"))
}
