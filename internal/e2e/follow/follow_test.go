package follow_test

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
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 1: when Publish has returned and a replica is proven past that moment,
// it refuses; a Barrier brings the proof.
func TestEveryFollowerRefuses(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)

	var lists []*revoke.List
	var followers []*bus.Member
	for range 4 {
		l := rig.NewList(t, rig.Quick)
		lists = append(lists, l)
		followers = append(followers, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l))
	}
	rig.WaitFresh(t, followers...)
	for i := range 20 {
		id := rig.Session(fmt.Sprint("s", i))
		for _, l := range lists {
			rig.MustPass(t, l, id)
		}
		rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
		acknowledged := revoke.Now()
		if i%2 == 0 {
			for n, f := range followers {
				rig.Barrier(t, f)
				rig.MustRefuse(t, lists[n], id)
			}
			continue
		}
		for n, l := range lists { // without a barrier: whenever the proof gets there
			rig.Eventually(t, "proven past the acknowledgement", func() bool {
				p := l.Status(revoke.Now()).Proven
				if p.Mono < acknowledged.Mono {
					return false
				}
				rig.MustRefuse(t, lists[n], id)
				return true
			})
		}
	}
	rig.MustPass(t, lists[0], rig.Session("another"))
}

// Concurrent barriers share heartbeats, and each still means what it says.
func TestBarriersTogether(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	before := f.Status().Sent

	const n = 200
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := rig.Session(fmt.Sprint("b", i))
			if _, err := pub.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: id.Session}); err != nil {
				t.Error(err)
				return
			}
			if err := f.Barrier(rig.Within(t)); err != nil {
				t.Error(err)
				return
			}
			if !rig.Refused(l, id) {
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
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, revoke.Config{HeartbeatInterval: time.Hour, MaxStaleness: 4 * time.Hour}))
	for range 10 {
		rig.Barrier(t, f)
	}
	// On a busy machine the next barrier's heartbeat may be sent before the last one is back,
	// which then no longer counts as returned.
	if s := f.Status(); s.Sent < 2 || s.Sent > 11 || s.Returned == 0 {
		t.Errorf("%d heartbeats sent, %d returned", s.Sent, s.Returned)
	}
}

func TestWaitFreshAndBarrierTellWhy(t *testing.T) {
	br := rig.NewBroker(t, nil)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick)) // no stream
	rig.Eventually(t, "the reason is known", func() bool { return f.Status().Reason == revoke.ReasonNoStream })
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
	if err := f.WaitFresh(rig.Within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := f.Barrier(rig.Within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if s := f.Status(); s.Reason != revoke.ReasonClosed {
		t.Errorf("after Close: %v", s.Reason)
	}
}

func TestStreamAppearsLater(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	if s := f.Status(); s.State != revoke.StateSyncing {
		t.Fatalf("at the start: %v", s.State)
	}
	rig.Eventually(t, "no stream", func() bool { return f.Status().Reason == revoke.ReasonNoStream })
	if err := rig.Check(l, rig.Session("a")); !errors.Is(err, revoke.ErrStale) {
		t.Fatalf("while syncing: %v", err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	rig.WaitFresh(t, f)
	rig.MustPass(t, l, rig.Session("a"))
}

func TestFollowerBeforeServer(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	id := rig.RevokeSession(t, br.URL(), "early")
	br.Stop()

	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	if s := f.Status(); s.State != revoke.StateSyncing || s.Reason != revoke.ReasonConnecting || s.Connected {
		t.Fatalf("before the server: %+v", s)
	}
	br.Start()
	rig.WaitFresh(t, f)
	rig.MustRefuse(t, l, id)
	if s := f.Status(); !s.Connected || s.Server == "" || s.Sequence == 0 || s.Err != nil {
		t.Errorf("after: %+v", s)
	}
}

func TestServerAwayTooLong(t *testing.T) {
	br := rig.NewBroker(t, nil)
	var log rig.Journal
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	known := rig.RevokeSession(t, br.URL(), "known")
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond
	l := rig.NewList(t, cfg)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, l)
	rig.WaitFresh(t, f)
	br.Stop()
	rig.Eventually(t, "stale", func() bool { return errors.Is(rig.Check(l, rig.Session("other")), revoke.ErrStale) })
	rig.Eventually(t, "the reason is known", func() bool {
		s := f.Status()
		return s.State == revoke.StateStale && s.Reason == revoke.ReasonDisconnected
	})
	if said := log.String(); strings.Contains(said, "rebuilding") || !strings.Contains(said, "reason=disconnected") {
		t.Errorf("a server that went down was called otherwise: %s", said)
	}
	rig.MustRefuse(t, l, known)
	br.Start()
	rig.WaitFresh(t, f)
	rig.MustRefuse(t, l, known)
	rig.MustPass(t, l, rig.Session("other"))
}

// They are needed for minutes, and sent for ever.
func TestHeartbeatsExpire(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, f)
	_, js := rig.Client(t, br.URL())
	m, err := rig.TheStream(t, js).GetLastMsgForSubject(rig.Within(t), bus.HeartbeatSubject)
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
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.HeartbeatInterval = 100 * time.Millisecond
	var fs []*bus.Member
	for range 8 {
		fs = append(fs, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg)))
	}
	rig.WaitFresh(t, fs...)
	total := func() (n uint64) {
		for _, f := range fs {
			n += f.Status().Sent
		}
		return n
	}
	began, before := time.Now(), total()
	rig.Eventually(t, "40 heartbeats", func() bool { return total()-before >= 40 })
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
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	for name, order := range map[string]func(*bus.Member, *nats.Conn){
		"the member first":     func(m *bus.Member, nc *nats.Conn) { m.Close(); nc.Close() },
		"the connection first": func(m *bus.Member, nc *nats.Conn) { nc.Close(); m.Close() },
		"the member alone":     func(m *bus.Member, _ *nats.Conn) { m.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			nc := rig.StoreConnection(t, br.URL(), nats.PingInterval(2*time.Second))
			l := rig.NewList(t, rig.Quick)
			f := rig.Join(t, bus.Config{Conn: nc}, bus.Config{}, l)
			rig.WaitFresh(t, f)
			if _, err := bus.Join(rig.Within(t), rig.Joining(rig.Dial(t, br.URL()), bus.Config{}, l)); !errors.Is(err, revoke.ErrFollowed) {
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
				if _, err := bus.Join(rig.Within(t), rig.Joining(bus.Config{Conn: nc}, bus.Config{}, l)); !errors.Is(err, bus.ErrClosed) {
					t.Errorf("Join over a closed connection: %v", err)
				}
			} else if nc.IsClosed() {
				t.Error("the connection of the caller was closed")
			}
			// The list can be fed again.
			f = rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
			rig.Barrier(t, f)
		})
	}
	_, js := rig.Client(t, br.URL())
	// Where the connection went first nobody could delete the consumer; the server
	// does it within a minute.
	rig.Eventually(t, "at most one consumer is left", func() bool { return rig.Consumers(t, js) <= 1 })
}

// A connection that is closed for good is terminal, and logged as an error.
func TestConnectionClosedForGood(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	var log rig.Journal
	cfg := rig.Quick
	cfg.MaxStaleness = 300 * time.Millisecond
	nc := rig.StoreConnection(t, br.URL(), nats.PingInterval(2*time.Second))
	f := rig.Join(t, bus.Config{Conn: nc}, bus.Config{Logger: log.Logger()}, rig.NewList(t, cfg))
	rig.WaitFresh(t, f)
	nc.Close()
	rig.Eventually(t, "closed", func() bool { s := f.Status(); return s.State == revoke.StateStale && s.Reason == revoke.ReasonClosed })
	if err := f.WaitFresh(rig.Within(t)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("WaitFresh: %v", err)
	}
	if log.Count("level=ERROR", "not following", "closed") != 1 {
		t.Errorf("log:\n%s", &log)
	}
}

// Reconnects leave no consumers behind, and lose nothing.
func TestReconnectsDoNotPileUp(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	p := rig.NewProxy(t, br.URL())
	l := rig.NewList(t, rig.Quick)
	var log rig.Journal
	f := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{Logger: log.Logger()}, l)
	pub := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	rig.WaitFresh(t, f)
	const n = 12
	for i := range n {
		before := f.Status().Subscriptions
		p.Cut()
		rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("r", i)})
		rig.Eventually(t, "a new subscription", func() bool { return f.Status().Subscriptions > before })
		rig.Barrier(t, f)
		rig.MustRefuse(t, l, rig.Session(fmt.Sprint("r", i)))
	}
	s := l.Stats(revoke.Now())
	if s.Replays != 1 || s.AnchorsLost != 0 {
		t.Errorf("%d replays, %d anchors lost; ordinary reconnects start at the cursor", s.Replays, s.AnchorsLost)
	}
	if c := log.Count("not following", "reason=disconnected"); c != n {
		t.Errorf("%d of %d cuts were noticed as such:\n%s", c, n, &log)
	}
	// Consumers of cut connections cannot be deleted by us; the server does it within a minute.
	if c := rig.Consumers(t, js); c > n+1 {
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
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond // makes the requests expire after 3 s
	var log rig.Journal
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, rig.NewList(t, cfg))
	rig.WaitFresh(t, f)
	rig.Eventually(t, "a subscription that outlives its requests", func() bool {
		silence := func() int { return log.Count("not following", `reason="no heartbeat"`) }
		silent, subscriptions := silence(), f.Status().Subscriptions
		for end := time.Now().Add(3500 * time.Millisecond); time.Now().Before(end); {
			rig.Barrier(t, f)
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
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false })
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{MaxBytes: 256 << 20, InsecureMemory: true})
	_, js := rig.Client(t, br.URL())
	const events, large = 12_000, 800
	junk := make([]byte, 63<<10)
	subject := bus.Subject(rig.Issuer, revoke.KindSession)
	for i := range events {
		data := fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":"r-%d"}`, rig.Issuer, i)
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, jetstream.WithStallWait(rig.Deadline)); err != nil {
			t.Fatal(err)
		}
		if i%(events/large) == 0 {
			if _, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Data: junk}, jetstream.WithStallWait(rig.Deadline)); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-rig.Within(t).Done():
		t.Fatal("publishing takes too long")
	}
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	s := l.Stats(revoke.Now())
	if s.Applied[revoke.KindSession] != events || s.Faults[revoke.FaultMalformed] != large || s.Gaps != 0 || f.Status().Subscriptions != 1 {
		t.Errorf("applied %d, faults %v, gaps %d, subscriptions %d (%v)", s.Applied[revoke.KindSession], s.Faults, s.Gaps, f.Status().Subscriptions, f.Status().Err)
	}
	for i := range events {
		if id := rig.Session(fmt.Sprint("r-", i)); !rig.Refused(l, id) {
			t.Fatalf("%s passes", id.Session)
		}
	}
}
