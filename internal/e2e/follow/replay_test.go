package follow_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A replay over a line, from a server or on a machine that stands still again and again,
// each time for longer than a server may be silent, goes on where it was: it comes to
// its end, and the log is read from its start but once. What a slow follower gives up it
// would have to ask for again, of a server that has less time for it with each that does.
func TestSlowReplayGoesOn(t *testing.T) {
	t.Parallel() // it waits, mostly
	const live = 10_000
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false })
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	events := make([]revoke.Event, live)
	for i := range events {
		events[i] = revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("s", i)}
	}
	if _, err := rig.Join(t, conn, bus.Config{}, nil).PublishAll(rig.Within(t), events); err != nil {
		t.Fatal(err)
	}

	p := rig.NewProxy(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = time.Second // the server says that it is there each 0.2 s, and is given up after three
	l := rig.NewList(t, cfg)
	p.Throttle(384<<10, 700*time.Millisecond)
	f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	if s := l.Stats(revoke.Now()); s.Replays != 1 || s.Gaps != 0 || s.AnchorsLost != 0 {
		t.Errorf("%+v", s)
	}
	for _, n := range []int{0, live / 2, live - 1} {
		rig.MustRefuse(t, l, rig.Session(fmt.Sprint("s", n)))
	}
	rig.MustPass(t, l, rig.Session("another"))
	t.Logf("%d subscriptions, %d own heartbeats", f.Status().Subscriptions, f.Status().Sent)
}

// Many services starting at once, by default settings: all become fresh and know every
// revocation, the server holds one consumer each and forgets them, and the jitter of
// their heartbeats keeps them from beating all together ever after.
func TestManyJoinAtOnce(t *testing.T) {
	const many, live = 64, 100
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)
	events := make([]revoke.Event, live)
	for i := range events {
		events[i] = revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("s", i)}
	}
	if _, err := pub.PublishAll(rig.Within(t), events); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, br.URL())

	lists := make([]*revoke.List, many)
	followers := make([]*bus.Member, many)
	var log rig.Journal
	for i := range lists {
		lists[i] = rig.NewList(t, revoke.Config{})
	}
	joined := time.Now()
	var wg sync.WaitGroup
	for i := range lists {
		wg.Go(func() {
			f, err := bus.Join(rig.Within(t), rig.Joining(rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, lists[i]))
			if err != nil {
				t.Error(err)
				return
			}
			followers[i] = f
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	t.Cleanup(func() {
		for _, f := range followers {
			f.Close()
		}
	})
	rig.WaitFresh(t, followers...)
	var sent, begun uint64
	for i, l := range lists {
		for _, n := range []int{0, live / 2, live - 1} {
			rig.MustRefuse(t, l, rig.Session(fmt.Sprint("s", n)))
		}
		rig.MustPass(t, l, rig.Session("another"))
		s := followers[i].Status()
		sent += s.Sent
		begun += s.Subscriptions
	}
	// A server is given up as silent after 3 s at the earliest. Where all took less to join,
	// nobody can have had reason to; where the machine gave them no more time than that,
	// none may have done so more often than it could seem to him.
	took := time.Since(joined)
	if most := many * (1 + uint64(took/(3*time.Second))); begun > most {
		t.Errorf("%d subscriptions begun within %s, want %d at most:\n%s", begun, took, most, &log)
	}
	t.Logf("joined within %s: %d subscriptions, %d heartbeats", took, begun, sent)
	rig.Eventually(t, "one consumer each on the server", func() bool { return rig.Consumers(t, js) == many })

	// Each beat once when it joined. From now on about one of them does in an interval
	// or two; without jitter nearly all would.
	began := time.Now()
	rig.Eventually(t, "five intervals", func() bool { return time.Since(began) > 5*time.Second })
	var after uint64
	for _, f := range followers {
		after += f.Status().Sent
	}
	if most := uint64(time.Since(began)/time.Second+1) * many / 4; after-sent > most {
		t.Errorf("%d heartbeats of %d members in %s: they beat together", after-sent, many, time.Since(began))
	}

	for _, f := range followers {
		f.Close()
	}
	rig.Eventually(t, "the server has forgotten the consumers", func() bool { return rig.Consumers(t, js) == 0 })
}
