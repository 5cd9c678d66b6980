package mirrors_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// newLeaf starts a server that holds the stream, and a leaf node of it. The domain of
// each is empty for none; a leaf without one has no JetStream. defaults is the leaf's
// default_js_domain.
func newLeaf(t *testing.T, hubDomain, leafDomain string, defaults map[string]string) (hub, leaf *rig.Broker) {
	t.Helper()
	return newLeafOver(t, func(address string) string { return address }, hubDomain, leafDomain, defaults)
}

// newLeafOver is newLeaf with a line between the two, which is given the hub's address and
// returns its other end's.
func newLeafOver(t *testing.T, line func(address string) string, hubDomain, leafDomain string, defaults map[string]string) (hub, leaf *rig.Broker) {
	t.Helper()
	port := rig.FreePort(t)
	hub = rig.NewBroker(t, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = "hub", hubDomain
		o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: port}
	})
	there := line(fmt.Sprint("127.0.0.1:", port))
	leaf = rig.NewBroker(t, func(o *server.Options) {
		o.ServerName, o.JetStream, o.JetStreamDomain = "leaf", leafDomain != "", leafDomain
		o.JsAccDefaultDomain = defaults
		o.LeafNode = server.LeafNodeOpts{
			ReconnectInterval: 50 * time.Millisecond,
			Remotes:           []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats-leaf", Host: there}}}},
		}
	})
	rig.Eventually(t, "the leaf is connected", func() bool { return hub.Server.NumLeafNodes() == 1 && leaf.Server.NumLeafNodes() == 1 })
	rig.CreateStream(t, rig.Dial(t, hub.URL()), bus.StreamConfig{})
	return hub, leaf
}

// brief is a List that is stale soon.
func brief() revoke.Config {
	c := rig.Quick
	c.MaxStaleness = 2 * time.Second
	return c
}

// A leaf node without JetStream lets no request to JetStream through, unless it is told
// whose domain its clients mean. Then it is a way to the stream like any other: publishers
// and followers work over it, replicas are found, and what stands behind a line that is
// cut is stale, refuses what it knows, and heals.
func TestLeafWithoutJetStream(t *testing.T) {
	t.Parallel() // it waits, mostly
	for name, c := range map[string]struct {
		domain   string
		defaults map[string]string
		works    bool
	}{
		"no domain":               {"", nil, false},
		"a domain":                {"hub", nil, false},
		"a domain told":           {"hub", map[string]string{"$G": "hub"}, true},
		"that there is no domain": {"", map[string]string{"$G": ""}, true},
	} {
		t.Run(name, func(t *testing.T) {
			hub, leaf := newLeaf(t, c.domain, "", c.defaults)
			if !c.works {
				f := rig.Join(t, rig.Dial(t, leaf.URL()), bus.Config{}, rig.NewList(t, brief()))
				rig.Eventually(t, "what is wrong is told", func() bool { return errors.Is(f.Status().Err, nats.ErrNoResponders) })
				if s := f.Status(); s.State != revoke.StateSyncing || s.Subscriptions != 0 {
					t.Errorf("%+v", s)
				}
				return
			}
			l := rig.NewList(t, brief())
			f := rig.Join(t, rig.Dial(t, leaf.URL()), bus.Config{Name: "at the leaf"}, l)
			rig.WaitFresh(t, f)
			rig.Publish(t, rig.Join(t, rig.Dial(t, leaf.URL()), bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "from the leaf"})
			r, err := rollcall.Revoke(rig.Within(t), rig.Join(t, rig.Dial(t, hub.URL()), bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "from the hub"}, rollcall.Config{Replicas: 1})
			if err != nil || len(r.Replicas) != 1 || !r.Replicas[0].Applied || r.Replicas[0].Name != "at the leaf" {
				t.Errorf("%+v: %v", r, err)
			}
			rig.Barrier(t, f)
			rig.MustRefuse(t, l, rig.Session("from the leaf"), rig.Session("from the hub"))
			rig.MustPass(t, l, rig.Session("another"))
			cutOff(t, hub, f, l)
		})
	}
}

// cutOff stops the hub, and finds the follower stale meanwhile and healed afterwards.
func cutOff(t *testing.T, hub *rig.Broker, f *bus.Member, l *revoke.List) {
	t.Helper()
	hub.Stop()
	rig.Eventually(t, "stale", func() bool { return f.Status().State == revoke.StateStale })
	rig.MustRefuse(t, l, rig.Session("from the hub"))
	if err := rig.Check(l, rig.Session("another")); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("cut off: %v", err)
	}
	hub.Start()
	began := time.Now()
	// A mirror asks for its origin anew after pauses of up to two minutes.
	ctx, cancel := context.WithTimeout(t.Context(), 4*rig.Deadline)
	defer cancel()
	if err := f.WaitFresh(ctx); err != nil {
		t.Fatalf("%v; status %+v", err, f.Status())
	}
	t.Logf("fresh %s after the hub is back", time.Since(began).Round(10*time.Millisecond))
	id := rig.RevokeSession(t, hub.URL(), "afterwards")
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, id)
}

// mirrorAt makes a mirror of the hub's stream at the leaf, as mirror.json has it, with a
// domain for the origin, and returns its name.
func mirrorAt(t *testing.T, hub, leaf *rig.Broker) string {
	t.Helper()
	_, hubJS := rig.Client(t, hub.URL())
	origin := rig.TheStream(t, hubJS)
	c := origin.CachedInfo().Config
	c.Name, c.Subjects, c.AllowDirect, c.AllowAtomicPublish = "REVOCATIONS_MIRROR", nil, false, false
	c.Mirror = &jetstream.StreamSource{Name: bus.DefaultStream, Domain: "hub"}
	_, leafJS := rig.Client(t, leaf.URL())
	if _, err := leafJS.CreateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
	return c.Name
}

// A leaf node with JetStream of its own, in a domain of its own, answers what a client
// there asks JetStream: the hub's stream does not exist for it, and nobody is fooled. A
// mirror there is followed like the stream; heartbeats of its followers cross to the
// stream and come back in the mirror. Who publishes has to connect to the hub.
func TestLeafWithDomain(t *testing.T) {
	t.Parallel() // it waits, mostly
	hub, leaf := newLeaf(t, "hub", "edge", nil)
	l := rig.NewList(t, brief())
	lost := rig.Join(t, rig.Dial(t, leaf.URL()), bus.Config{}, rig.NewList(t, rig.Quick))
	rig.Eventually(t, "no stream", func() bool { return lost.Status().Reason == revoke.ReasonNoStream })
	if _, err := rig.Join(t, rig.Dial(t, leaf.URL()), bus.Config{}, nil).Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "lost"}); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("publishing at the leaf: %v", err)
	}
	if n := rig.LastSequence(t, hub.URL()); n != 0 {
		t.Errorf("%d messages in the stream, refused though they were", n)
	}
	lost.Close()

	there := bus.Config{Stream: mirrorAt(t, hub, leaf), Name: "at the leaf"}
	rig.Join(t, rig.Dial(t, hub.URL()), bus.Config{Name: "at the hub"}, rig.NewList(t, brief())) // whose digests prove the mirror
	f := rig.Join(t, rig.Dial(t, leaf.URL()), there, l)
	rig.WaitFresh(t, f)
	r, err := rollcall.Revoke(rig.Within(t), rig.Join(t, rig.Dial(t, hub.URL()), bus.Config{}, nil), revoke.Event{Kind: revoke.KindSession, Value: "from the hub"}, rollcall.Config{Replicas: 2})
	if err != nil || len(r.Replicas) != 2 {
		t.Errorf("%+v: %v", r, err)
	}
	names := map[string]bool{}
	for _, replica := range r.Replicas {
		names[replica.Name] = replica.Applied
	}
	if !names["at the leaf"] || !names["at the hub"] {
		t.Errorf("applied: %v", names)
	}
	rig.Barrier(t, f) // an own heartbeat went to the hub and came back
	rig.MustRefuse(t, l, rig.Session("from the hub"))
	rig.MustPass(t, l, rig.Session("another"))
	if _, err := rig.Join(t, rig.Dial(t, leaf.URL()), there, nil).Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "lost"}); !errors.Is(err, bus.ErrStreamUnsafe) {
		t.Errorf("publishing to a mirror: %v", err)
	}
	cutOff(t, hub, f, l)
	if s := f.Status(); s.Returned == 0 {
		t.Errorf("%+v", s)
	}
}
