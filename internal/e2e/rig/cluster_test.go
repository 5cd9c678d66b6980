package rig_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The cluster itself: what is acknowledged survives an isolated leader, and an isolated
// server goes on serving its clients. TestNormalDayClusterMaintenance crashes one, and
// restarts all.
func TestClusterHelper(t *testing.T) {
	t.Parallel()
	c := rig.NewCluster(t, 3, nil)
	c.CreateStream(bus.StreamConfig{})
	first := c.Leader(bus.DefaultStream)
	rig.Publish(t, rig.Join(t, rig.Dial(t, c.URLs()), bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "a"})

	c.Isolate(first)
	second := c.Leader(bus.DefaultStream, first)
	rig.Publish(t, rig.Join(t, rig.Dial(t, c.URL(second)), bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "b"})
	if nc := rig.Connection(t, rig.Dial(t, c.URL(first))); !nc.IsConnected() {
		t.Error("the isolated server does not serve clients")
	}
	c.Heal(first)
	c.Settled(bus.DefaultStream)
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, c.URL(first)), bus.Config{}, l))
	rig.MustRefuse(t, l, rig.Session("a"), rig.Session("b"))
}
