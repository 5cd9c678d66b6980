package rollcall_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A connection with NoEcho, over which a server delivers nothing to those who sent it,
// keeps nobody of its process from being waited for: neither a replica of the same Bus,
// nor one of another Bus over it, however often it was wrapped; nor one elsewhere.
func TestRollCallWithoutEcho(t *testing.T) {
	t.Parallel() // it waits
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	nc, err := nats.Connect(br.URL(), nats.NoEcho(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1), nats.PingInterval(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	shared := bus.Config{Conn: nc, Shared: true}
	own := rig.NewList(t, rig.Quick)
	pub := rig.Join(t, shared, bus.Config{Name: "own"}, own)
	fs := []*bus.Member{pub, rig.Join(t, shared, bus.Config{Name: "sister"}, rig.NewList(t, rig.Quick)),
		rig.Join(t, shared, bus.Config{Name: "wrapped again"}, rig.NewList(t, rig.Quick)), rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Name: "elsewhere"}, rig.NewList(t, rig.Quick))}
	rig.WaitFresh(t, fs...)
	for _, f := range fs {
		rig.Eventually(t, "announced", func() bool { return f.Status().Announcement.Listening })
	}
	wait := func(sid string, cfg rollcall.Config) rollcall.Receipt {
		t.Helper()
		r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: sid}, cfg)
		if err != nil {
			t.Fatalf("%v; %+v", err, r.Replicas)
		}
		return r
	}
	got := rig.Applied(wait("all", rollcall.Config{Replicas: 4}))
	for _, name := range []string{"own", "sister", "wrapped again", "elsewhere"} {
		if _, ok := got[name]; !ok || len(got) != 4 {
			t.Fatalf("%s has not confirmed: %+v", name, got)
		}
	}
	rig.MustRefuse(t, own, rig.Session("all"))
	if r := wait("again", rollcall.Config{}); len(rig.Applied(r)) != 4 {
		t.Errorf("%+v", r.Replicas)
	}
	// A farewell is heard, too.
	for _, f := range fs[1:] {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, "those that are closed are not waited for", func() bool {
		r := wait("alone", rollcall.Config{})
		return len(r.Replicas) == 1 && r.Replicas[0].Name == "own"
	})
	// And what nobody hears is not heard here either.
	if err := pub.Close(); err != nil {
		t.Fatal(err)
	}
	alone := rig.Join(t, shared, bus.Config{Name: "alone"}, nil)
	r, err := rollcall.Revoke(rig.Within(t), alone, revoke.Event{Kind: revoke.KindSession, Value: "nobody"}, rollcall.Config{})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || len(rig.Applied(r)) != 0 {
		t.Errorf("%v, %+v", err, r.Replicas)
	}
}
