package e2e_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// atNode connects to node i of the cluster, and knows the others.
func atNode(t *testing.T, c *cluster, i int, opts ...nats.Option) bus.Config {
	t.Helper()
	urls := c.url(i)
	for j := range c.nodes {
		if j != i {
			urls += "," + c.url(j)
		}
	}
	return dial(t, urls, append(opts, nats.DontRandomize())...)
}

// use makes a connection to node i that the caller owns. It knows that node by two
// names, so that the first move leads nowhere.
func use(t *testing.T, c *cluster, i int, shared bool) bus.Config {
	t.Helper()
	nc, err := nats.Connect(c.url(i)+","+c.urls(), nats.DontRandomize(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
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
func TestLadderLeavesIsolatedServer(t *testing.T) {
	t.Parallel() // it waits, mostly
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			t.Parallel() // it waits, mostly
			leavesIsolated(t, role == "leader")
		})
	}
}

func leavesIsolated(t *testing.T, leads bool) {
	c := newCluster(t, 3, nil)
	c.createStream(bus.StreamConfig{})
	sick := c.leader(bus.DefaultStream)
	if !leads {
		sick = (sick + 1) % 3
	}
	var log journal
	defer func() {
		if t.Failed() {
			t.Logf("sick is n%d of %s\n%s", sick, c.urls(), &log)
		}
	}()
	cfg := revoke.Config{HeartbeatInterval: 200 * time.Millisecond, MaxSkew: quick.MaxSkew, MaxStaleness: 4 * time.Second}
	conns := []bus.Config{atNode(t, c, sick), atNode(t, c, sick), use(t, c, sick, false), use(t, c, sick, true)}
	var lists []*revoke.List
	var fs []*bus.Member
	for i, conn := range conns {
		lists = append(lists, newList(t, cfg))
		fs = append(fs, join(t, conn, bus.Config{Logger: log.logger(), NoHeartbeats: i == 1}, lists[i]))
	}
	waitFresh(t, fs...)
	was := fs[0].Status().Server
	for _, f := range fs {
		if s := f.Status(); s.Server != was || !strings.HasSuffix(was, c.url(sick)[len("nats://"):]) {
			t.Fatalf("connected to %s, want %s", s.Server, c.url(sick))
		}
	}

	c.isolate(sick)
	others := c.leader(bus.DefaultStream, sick)
	id := revokeSession(t, c.url(others), "meanwhile")
	since := revoke.Now()
	for i := range fs[:3] {
		eventually(t, "refused", func() bool {
			proven := lists[i].Status(revoke.Now()).Proven
			if refused(lists[i], id) {
				return true
			}
			if proven.Mono >= since.Mono {
				t.Fatalf("follower %d: proven after the acknowledgement, yet the session passes", i)
			}
			return false
		})
	}
	waitFresh(t, fs[:3]...)
	for i, f := range fs[:3] {
		if s := f.Status(); s.Moves == 0 || s.Server == was {
			t.Errorf("follower %d: %d moves, at %s, was at %s", i, s.Moves, s.Server, was)
		}
	}
	eventually(t, "the shared connection is reported to stay", func() bool { return log.count("shared and stays") > 0 })
	if s := fs[3].Status(); s.Moves != 0 || s.Server != was || s.Proven.Mono >= since.Mono {
		t.Errorf("shared: %+v", s)
	}
	c.heal(sick)
	waitFresh(t, fs[3])
	mustRefuse(t, lists[3], id)
	if s := fs[3].Status(); s.Server != was {
		t.Errorf("the shared connection moved from %s to %s", was, s.Server)
	}
}

// Whatever fails and however often, one follower has one consumer, and hardly ever
// some more: what was on its way when a connection hung may come late.
func TestConsumersNeverPileUp(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	_, js := plain(t, br.url())
	p := newProxy(t, br.url())
	cfg := quick
	cfg.MaxStaleness = 500 * time.Millisecond
	f := join(t, dial(t, p.url(), nats.PingInterval(100*time.Millisecond)), bus.Config{}, newList(t, cfg))
	pub := join(t, dial(t, br.url()), bus.Config{}, nil)
	waitFresh(t, f)

	replies := func(s string) bool { return strings.HasPrefix(s, "_INBOX.") && strings.Count(s, ".") > 1 }
	faults := map[string]func(){
		"cut": p.cut,
		"cut in the middle of subscribing": func() { // the consumer is made, nobody hears of it
			var n atomic.Int64
			p.lose(func(s string) bool {
				if replies(s) && n.Add(1) == 2 {
					go p.cut()
					return true
				}
				return false
			})
			p.cut()
		},
		"no heartbeats": func() { p.lose(func(s string) bool { return s == bus.HeartbeatSubject }) },
		"a gap": func() {
			var n atomic.Int64
			p.lose(func(s string) bool { return strings.HasPrefix(s, "revocations.") && n.Add(1) == 1 })
		},
		"silence": func() { p.lose(func(s string) bool { return !replies(s) }) },
		"hanging": func() { p.hang() },
	}
	const rounds = 2
	most, subscriptions := 0, f.Status().Subscriptions
	for round := range rounds {
		for name, fault := range faults {
			before := f.Status().Subscriptions
			fault()
			publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(name, round)})
			eventually(t, "noticed: "+name, func() bool {
				s := f.Status()
				return s.Subscriptions > before || name == "hanging" && s.State == revoke.StateStale
			})
			most = max(most, consumers(t, js))
			p.resume()
			p.lose(nil)
			barrier(t, f)
			most = max(most, consumers(t, js))
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
	eventually(t, "almost none is left", func() bool { return consumers(t, js) <= 2 })
}

// With one server, and nobody who may beat, a follower reads the log anew once, and
// then goes on trying, ever more rarely; it heals when somebody beats. What it knew
// stays known.
func TestLadderNobodyBeats(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	id := revokeSession(t, br.url(), "a")
	cfg := quick
	cfg.MaxStaleness = 400 * time.Millisecond
	var log journal
	l := newList(t, cfg)
	f := join(t, dial(t, br.url()), bus.Config{NoHeartbeats: true, Logger: log.logger()}, l)
	eventually(t, "the third step", func() bool { return log.count("subscribing anew", "no other server is known") >= 2 })
	if n := l.Stats(revoke.Now()).Replays; n != 2 || log.count("from its start") != 1 {
		t.Errorf("read from the start %d times:\n%s", n, &log)
	}
	if s := f.Status(); s.Subscriptions > 6 || s.Moves != 0 || s.Reason != revoke.ReasonNoHeartbeat && s.Reason != revoke.ReasonReplaying || s.Beater != "" {
		t.Errorf("%+v", s)
	}
	mustRefuse(t, l, id)
	join(t, dial(t, br.url()), bus.Config{Name: "the-beacon\x1b"}, newList(t, quick))
	waitFresh(t, f)
	if s := f.Status(); s.Beater != "the-beacon?" || time.Since(s.BeatAt) > time.Minute {
		t.Errorf("who beats: %q at %s", s.Beater, s.BeatAt)
	}
	if _, js := plain(t, br.url()); consumers(t, js) > 3 {
		t.Errorf("%d consumers", consumers(t, js))
	}
}
