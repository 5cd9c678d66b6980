package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 1: when Publish has returned and a replica is proven past that moment,
// it refuses; a Barrier brings the proof.
func TestEveryFollowerRefuses(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	pub := join(t, conn, bus.Config{}, nil)

	var lists []*revoke.List
	var followers []*bus.Member
	for range 4 {
		l := newList(t, quick)
		lists = append(lists, l)
		followers = append(followers, join(t, dial(t, br.url()), bus.Config{}, l))
	}
	waitFresh(t, followers...)
	for i := range 20 {
		id := session(fmt.Sprint("s", i))
		for _, l := range lists {
			mustPass(t, l, id)
		}
		publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
		acknowledged := revoke.Now()
		if i%2 == 0 {
			for n, f := range followers {
				barrier(t, f)
				mustRefuse(t, lists[n], id)
			}
			continue
		}
		for n, l := range lists { // without a barrier: whenever the proof gets there
			eventually(t, "proven past the acknowledgement", func() bool {
				p := l.Status(revoke.Now()).Proven
				if p.Mono < acknowledged.Mono {
					return false
				}
				mustRefuse(t, lists[n], id)
				return true
			})
		}
	}
	mustPass(t, lists[0], session("another"))
}

// Concurrent barriers share heartbeats, and each still means what it says.
func TestBarriersTogether(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	pub := join(t, conn, bus.Config{}, nil)
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	waitFresh(t, f)
	before := f.Status().Sent

	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := session(fmt.Sprint("b", i))
			if _, err := pub.Publish(within(t), revoke.Event{Kind: revoke.KindSession, Value: id.Session}); err != nil {
				t.Error(err)
				return
			}
			if err := f.Barrier(within(t)); err != nil {
				t.Error(err)
				return
			}
			if !refused(l, id) {
				t.Errorf("session %s passes after the barrier", id.Session)
			}
		})
	}
	began := time.Now()
	wg.Wait()
	// One for each 10 ms, and the ordinary ones beside.
	if sent, most := f.Status().Sent-before, 10+2*uint64(time.Since(began)/(10*time.Millisecond)); sent > most && sent > n/2 {
		t.Errorf("%d heartbeats for %d barriers", sent, n)
	}
}

// A barrier does not wait for the next heartbeat, it sends one.
func TestBarrierBeatsAtOnce(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, revoke.Config{HeartbeatInterval: time.Hour, MaxStaleness: 4 * time.Hour}))
	for range 10 {
		barrier(t, f)
	}
	// On a busy machine the next barrier's heartbeat may be sent before the last one is back,
	// which then no longer counts as returned.
	if s := f.Status(); s.Sent < 2 || s.Sent > 11 || s.Returned == 0 {
		t.Errorf("%d heartbeats sent, %d returned", s.Sent, s.Returned)
	}
}

func TestWaitFreshAndBarrierTellWhy(t *testing.T) {
	br := newBroker(t, nil)
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, quick)) // no stream
	eventually(t, "the reason is known", func() bool { return f.Status().Reason == revoke.ReasonNoStream })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, wait := range map[string]func(context.Context) error{"WaitFresh": f.WaitFresh, "Barrier": f.Barrier} {
		err := wait(ctx)
		var stale *revoke.StaleError
		if !errors.Is(err, context.Canceled) || !errors.Is(err, revoke.ErrStale) || !errors.As(err, &stale) || stale.Reason != revoke.ReasonNoStream {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Status().Err; !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("Status().Err: %v", err)
	}
	f.Close()
	if err := f.WaitFresh(within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := f.Barrier(within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if s := f.Status(); s.Reason != revoke.ReasonClosed {
		t.Errorf("after Close: %v", s.Reason)
	}
}

func TestStreamAppearsLater(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	if s := f.Status(); s.State != revoke.StateSyncing {
		t.Fatalf("at the start: %v", s.State)
	}
	eventually(t, "no stream", func() bool { return f.Status().Reason == revoke.ReasonNoStream })
	if err := check(l, session("a")); !errors.Is(err, revoke.ErrStale) {
		t.Fatalf("while syncing: %v", err)
	}
	createStream(t, conn, bus.StreamConfig{})
	waitFresh(t, f)
	mustPass(t, l, session("a"))
}

func TestFollowerBeforeServer(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	id := revokeSession(t, br.url(), "early")
	br.stop()

	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	if s := f.Status(); s.State != revoke.StateSyncing || s.Reason != revoke.ReasonConnecting || s.Connected {
		t.Fatalf("before the server: %+v", s)
	}
	br.start()
	waitFresh(t, f)
	mustRefuse(t, l, id)
	if s := f.Status(); !s.Connected || s.Server == "" || s.Sequence == 0 || s.Err != nil {
		t.Errorf("after: %+v", s)
	}
}

func TestServerAwayTooLong(t *testing.T) {
	br := newBroker(t, nil)
	var log journal
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	known := revokeSession(t, br.url(), "known")
	cfg := quick
	cfg.MaxStaleness = 500 * time.Millisecond
	l := newList(t, cfg)
	f := join(t, dial(t, br.url()), bus.Config{Logger: log.logger()}, l)
	waitFresh(t, f)
	br.stop()
	eventually(t, "stale", func() bool { return errors.Is(check(l, session("other")), revoke.ErrStale) })
	eventually(t, "the reason is known", func() bool {
		s := f.Status()
		return s.State == revoke.StateStale && s.Reason == revoke.ReasonDisconnected
	})
	if said := log.String(); strings.Contains(said, "rebuilding") || !strings.Contains(said, "reason=disconnected") {
		t.Errorf("a server that went down was called otherwise: %s", said)
	}
	mustRefuse(t, l, known)
	br.start()
	waitFresh(t, f)
	mustRefuse(t, l, known)
	mustPass(t, l, session("other"))
}

// They are needed for minutes, and sent for ever.
func TestHeartbeatsExpire(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, quick))
	waitFresh(t, f)
	_, js := plain(t, br.url())
	m, err := theStream(t, js).GetLastMsgForSubject(within(t), bus.HeartbeatSubject)
	if err != nil {
		t.Fatal(err)
	}
	if ttl := m.Header.Get("Nats-TTL"); ttl != "15m" {
		t.Errorf("TTL %q", ttl)
	}
}

// Silence works: of several members about one beats for each interval.
func TestHeartbeatsAreShared(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	cfg := quick
	cfg.HeartbeatInterval = 100 * time.Millisecond
	var fs []*bus.Member
	for range 8 {
		fs = append(fs, join(t, dial(t, br.url()), bus.Config{}, newList(t, cfg)))
	}
	waitFresh(t, fs...)
	total := func() (n uint64) {
		for _, f := range fs {
			n += f.Status().Sent
		}
		return n
	}
	began, before := time.Now(), total()
	eventually(t, "40 heartbeats", func() bool { return total()-before >= 40 })
	// One at a time they take over 4 s; if nobody were silenced, 0.75 s. A slow machine
	// takes longer, and lets more coincide, up to half of them seen.
	if took := time.Since(began); took < time.Second {
		t.Errorf("40 heartbeats within %s: nobody is silenced", took)
	}
	for _, f := range fs {
		if s := f.Status(); s.State != revoke.StateFresh {
			t.Errorf("%v (%v)", s.State, s.Reason)
		}
	}
}

func TestCloseInAnyOrder(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	for name, order := range map[string]func(*bus.Member, *nats.Conn){
		"the member first":     func(m *bus.Member, nc *nats.Conn) { m.Close(); nc.Close() },
		"the connection first": func(m *bus.Member, nc *nats.Conn) { nc.Close(); m.Close() },
		"the member alone":     func(m *bus.Member, _ *nats.Conn) { m.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			nc := connect(t, br.url(), nats.PingInterval(2*time.Second))
			l := newList(t, quick)
			f := join(t, bus.Config{Conn: nc}, bus.Config{}, l)
			waitFresh(t, f)
			if _, err := bus.Join(within(t), joining(dial(t, br.url()), bus.Config{}, l)); !errors.Is(err, revoke.ErrFollowed) {
				t.Errorf("a second member of one list: %v", err)
			}
			order(f, nc)
			order(f, nc)
			s := f.Status()
			if s.Reason != revoke.ReasonNone && s.Reason != revoke.ReasonClosed || s.Connected || !s.Closed {
				t.Errorf("after: %+v", s)
			}
			proven := s.Proven
			if again := f.Status().Proven; again != proven {
				t.Error("the proven instant moved after Close")
			}
			if name != "the member alone" {
				if _, err := bus.Join(within(t), joining(bus.Config{Conn: nc}, bus.Config{}, l)); !errors.Is(err, bus.ErrClosed) {
					t.Errorf("Join over a closed connection: %v", err)
				}
			} else if nc.IsClosed() {
				t.Error("the connection of the caller was closed")
			}
			// The list can be fed again.
			f = join(t, dial(t, br.url()), bus.Config{}, l)
			barrier(t, f)
		})
	}
	_, js := plain(t, br.url())
	// Where the connection went first nobody could delete the consumer; the server
	// does it within a minute.
	eventually(t, "at most one consumer is left", func() bool { return consumers(t, js) <= 1 })
}

// A connection that is closed for good is terminal, and logged as an error.
func TestConnectionClosedForGood(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	var log journal
	cfg := quick
	cfg.MaxStaleness = 300 * time.Millisecond
	nc := connect(t, br.url(), nats.PingInterval(2*time.Second))
	f := join(t, bus.Config{Conn: nc}, bus.Config{Logger: log.logger()}, newList(t, cfg))
	waitFresh(t, f)
	nc.Close()
	eventually(t, "closed", func() bool { s := f.Status(); return s.State == revoke.StateStale && s.Reason == revoke.ReasonClosed })
	if err := f.WaitFresh(within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("WaitFresh: %v", err)
	}
	if log.count("level=ERROR", "not following", "closed") != 1 {
		t.Errorf("log:\n%s", &log)
	}
}

// Reconnects leave no consumers behind, and lose nothing.
func TestReconnectsDoNotPileUp(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	_, js := plain(t, br.url())
	p := newProxy(t, br.url())
	l := newList(t, quick)
	var log journal
	f := join(t, dial(t, p.url()), bus.Config{Logger: log.logger()}, l)
	pub := join(t, dial(t, br.url()), bus.Config{}, nil)
	waitFresh(t, f)
	const n = 12
	for i := range n {
		before := f.Status().Subscriptions
		p.cut()
		publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("r", i)})
		eventually(t, "a new subscription", func() bool { return f.Status().Subscriptions > before })
		barrier(t, f)
		mustRefuse(t, l, session(fmt.Sprint("r", i)))
	}
	s := l.Stats(revoke.Now())
	if s.Replays != 1 || s.AnchorsLost != 0 {
		t.Errorf("%d replays, %d anchors lost; ordinary reconnects start at the cursor", s.Replays, s.AnchorsLost)
	}
	if c := log.count("not following", "reason=disconnected"); c != n {
		t.Errorf("%d of %d cuts were noticed as such:\n%s", c, n, &log)
	}
	// Consumers of cut connections cannot be deleted by us; the server does it within a minute.
	if c := consumers(t, js); c > n+1 {
		t.Errorf("%d consumers after %d reconnects", c, n)
	}
	if s := f.Status(); s.Subscriptions > 2*n+1 {
		t.Errorf("%d subscriptions for %d cuts", s.Subscriptions, n)
	}
}

// Requests for messages expire and are renewed without a break. On a machine that gives
// nobody his time the server, or every heartbeat, may seem to stay away meanwhile, which
// ends a subscription too, for that reason and no other; then once more.
func TestPullRequestsAreRenewed(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	cfg := quick
	cfg.MaxStaleness = 500 * time.Millisecond // makes the requests expire after 3 s
	var log journal
	f := join(t, dial(t, br.url()), bus.Config{Logger: log.logger()}, newList(t, cfg))
	waitFresh(t, f)
	eventually(t, "a subscription that outlives its requests", func() bool {
		silence := func() int { return log.count("not following", `reason="no heartbeat"`) }
		silent, subscriptions := silence(), f.Status().Subscriptions
		for end := time.Now().Add(3500 * time.Millisecond); time.Now().Before(end); {
			barrier(t, f)
		}
		if f.Status().Subscriptions == subscriptions {
			return true
		}
		if silence() == silent {
			t.Fatalf("ended by something else:\n%s", &log)
		}
		return false
	})
}

// A replay larger than what is asked for at once, with messages larger than what
// is taken at once.
func TestReplay(t *testing.T) {
	br := newBroker(t, func(o *server.Options) { o.SyncAlways = false })
	createStream(t, dial(t, br.url()), bus.StreamConfig{MaxBytes: 256 << 20, InsecureMemory: true})
	_, js := plain(t, br.url())
	const events, large = 12_000, 800
	junk := make([]byte, 63<<10)
	subject := bus.Subject(issuer, revoke.KindSession)
	for i := range events {
		data := fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":"r-%d"}`, issuer, i)
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, jetstream.WithStallWait(deadline)); err != nil {
			t.Fatal(err)
		}
		if i%(events/large) == 0 {
			if _, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: junk}, jetstream.WithStallWait(deadline)); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("publishing takes too long")
	}
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	waitFresh(t, f)
	s := l.Stats(revoke.Now())
	if s.Applied[revoke.KindSession] != events || s.Faults[revoke.FaultMalformed] != large || s.Gaps != 0 || f.Status().Subscriptions != 1 {
		t.Errorf("applied %d, faults %v, gaps %d, subscriptions %d (%v)", s.Applied[revoke.KindSession], s.Faults, s.Gaps, f.Status().Subscriptions, f.Status().Err)
	}
	for i := range events {
		if id := session(fmt.Sprint("r-", i)); !refused(l, id) {
			t.Fatalf("%s passes", id.Session)
		}
	}
}
