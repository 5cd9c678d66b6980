package follow_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// use makes a connection to node i that the caller owns. It knows that node by two
// names, so that the first move leads nowhere.
func use(t *testing.T, c *rig.Cluster, i int, shared bool) bus.Config {
	t.Helper()
	nc, err := nats.Connect(c.URL(i)+","+c.URLs(), nats.DontRandomize(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(2*time.Second), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return bus.Config{Conn: nc, Shared: shared}
}

// A server that is cut off from its peers looks idle and healthy to its clients, and
// all that was revoked since is unknown behind it. Its followers move to another, but
// for one whose connection is not theirs to move; and until they have, nothing
// proves them fresh (invariant 1). Whether that server followed, or led and does not
// know yet that it was deposed.
func TestEscalationLeavesIsolatedServer(t *testing.T) {
	t.Parallel() // it waits, mostly
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel() // it waits, mostly
			leavesIsolated(t, role == "leader")
		})
	}
}

func leavesIsolated(t *testing.T, leads bool) {
	c := rig.NewCluster(t, 3, nil)
	c.CreateStream(bus.StreamConfig{})
	sick := c.Leader(bus.DefaultStream)
	if !leads {
		sick = (sick + 1) % 3
	}
	var log rig.Journal
	defer func() {
		if t.Failed() {
			t.Logf("sick is n%d of %s\n%s", sick, c.URLs(), &log)
		}
	}()
	cfg := revoke.Config{HeartbeatInterval: 200 * time.Millisecond, MaxSkew: rig.Quick.MaxSkew, MaxStaleness: 4 * time.Second}
	conns := []bus.Config{rig.AtNode(t, c, sick), rig.AtNode(t, c, sick), use(t, c, sick, false), use(t, c, sick, true)}
	var lists []*revoke.List
	var fs []*bus.Member
	for i, conn := range conns {
		lists = append(lists, rig.NewList(t, cfg))
		fs = append(fs, rig.Join(t, conn, bus.Config{Logger: log.Logger(), NoHeartbeats: i == 1}, lists[i]))
	}
	rig.WaitFresh(t, fs...)
	was := fs[0].Status().Server
	for _, f := range fs {
		if s := f.Status(); s.Server != was || !strings.HasSuffix(was, c.URL(sick)[len("nats://"):]) {
			t.Fatalf("connected to %s, want %s", s.Server, c.URL(sick))
		}
	}

	c.Isolate(sick)
	others := c.Leader(bus.DefaultStream, sick)
	id := rig.RevokeSession(t, c.URL(others), "meanwhile")
	since := revoke.Now()
	for i := range fs[:3] {
		rig.Eventually(t, "refused", func() bool {
			proven := lists[i].Status(revoke.Now()).Proven
			if rig.Refused(lists[i], id) {
				return true
			}
			if proven.Mono >= since.Mono {
				t.Fatalf("follower %d: proven after the acknowledgement, yet the session passes", i)
			}
			return false
		})
	}
	rig.WaitFresh(t, fs[:3]...)
	for i, f := range fs[:3] {
		if s := f.Status(); s.Moves == 0 || s.Server == was {
			t.Errorf("follower %d: %d moves, at %s, was at %s", i, s.Moves, s.Server, was)
		}
	}
	rig.Eventually(t, "the shared connection is reported to stay", func() bool { return log.Count("shared and stays") > 0 })
	if s := fs[3].Status(); s.Moves != 0 || s.Server != was || s.Proven.Mono >= since.Mono {
		t.Errorf("shared: %+v", s)
	}
	c.Heal(sick)
	rig.WaitFresh(t, fs[3])
	rig.MustRefuse(t, lists[3], id)
	if s := fs[3].Status(); s.Server != was {
		t.Errorf("the shared connection moved from %s to %s", was, s.Server)
	}
}

// Whatever fails and however often, one follower has one consumer, and hardly ever
// some more: what was on its way when a connection hung may come late.
func TestConsumersNeverPileUp(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	p := rig.NewProxy(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond
	f := rig.Join(t, rig.Dial(t, p.URL(), nats.PingInterval(100*time.Millisecond)), bus.Config{}, rig.NewList(t, cfg))
	pub := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	rig.WaitFresh(t, f)

	replies := func(s string) bool { return strings.HasPrefix(s, "_INBOX.") && strings.Count(s, ".") > 1 }
	faults := map[string]func(){
		"cut": p.Cut,
		"cut in the middle of subscribing": func() { // the consumer is made, nobody hears of it
			var n atomic.Int64
			p.Lose(func(s string) bool {
				if replies(s) && n.Add(1) == 2 {
					go p.Cut()
					return true
				}
				return false
			})
			p.Cut()
		},
		"no heartbeats": func() { p.Lose(func(s string) bool { return s == bus.HeartbeatSubject }) },
		"a gap": func() {
			var n atomic.Int64
			p.Lose(func(s string) bool { return strings.HasPrefix(s, "revocations.") && n.Add(1) == 1 })
		},
		"silence": func() { p.Lose(func(s string) bool { return !replies(s) }) },
		"hanging": func() { p.Hang() },
	}
	const rounds = 2
	most, subscriptions := 0, f.Status().Subscriptions
	for round := range rounds {
		for name, fault := range faults {
			before := f.Status().Subscriptions
			fault()
			rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(name, round)})
			rig.Eventually(t, "noticed: "+name, func() bool {
				s := f.Status()
				return s.Subscriptions > before || name == "hanging" && s.State == revoke.StateStale
			})
			most = max(most, rig.Consumers(t, js))
			p.Resume()
			p.Lose(nil)
			rig.Barrier(t, f)
			most = max(most, rig.Consumers(t, js))
		}
	}
	n := f.Status().Subscriptions - subscriptions
	if t.Logf("%d subscriptions, at most %d consumers", n, most); n < rounds*uint64(len(faults)-1) {
		t.Errorf("only %d subscriptions for %d faults", n, rounds*len(faults))
	}
	if most > 5 {
		t.Errorf("%d consumers at once", most)
	}
	f.Close()
	rig.Eventually(t, "almost none is left", func() bool { return rig.Consumers(t, js) <= 2 })
}

// With one server, and nobody who may beat, a follower reads the log anew once, and
// then goes on trying, ever more rarely; it heals when somebody beats. What it knew
// stays known.
func TestEscalationNobodyBeats(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	id := rig.RevokeSession(t, br.URL(), "a")
	cfg := rig.Quick
	cfg.MaxStaleness = 400 * time.Millisecond
	var log rig.Journal
	l := rig.NewList(t, cfg)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{NoHeartbeats: true, Logger: log.Logger()}, l)
	rig.Eventually(t, "the third step", func() bool { return log.Count("subscribing anew", "no other server is known") >= 2 })
	if n := l.Stats(revoke.Now()).Replays; n != 2 || log.Count("from its start") != 1 {
		t.Errorf("read from the start %d times:\n%s", n, &log)
	}
	if s := f.Status(); s.Subscriptions > 6 || s.Moves != 0 || s.Reason != revoke.ReasonNoHeartbeat && s.Reason != revoke.ReasonReplaying || s.Beater != "" {
		t.Errorf("%+v", s)
	}
	rig.MustRefuse(t, l, id)
	rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Name: "the-beacon\x1b"}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, f)
	if s := f.Status(); s.Beater != "the-beacon?" || time.Since(s.BeatAt) > time.Minute {
		t.Errorf("who beats: %q at %s", s.Beater, s.BeatAt)
	}
	if _, js := rig.Client(t, br.URL()); rig.Consumers(t, js) > 3 {
		t.Errorf("%d consumers", rig.Consumers(t, js))
	}
}
