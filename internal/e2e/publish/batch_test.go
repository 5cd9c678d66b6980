package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A stored is one event of a stream.
type stored struct {
	value   string
	id      string // of the message
	batched bool
}

// events returns what a stream holds, but heartbeats, by sequence.
func events(t *testing.T, js jetstream.JetStream, stream string) map[uint64]stored {
	t.Helper()
	s := rig.StreamNamed(t, js, stream)
	held := map[uint64]stored{}
	c, err := s.OrderedConsumer(rig.Within(t), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for last, at := s.CachedInfo().State.LastSeq, uint64(0); at < last; {
		msg, err := c.Next(jetstream.FetchMaxWait(rig.Deadline))
		if err != nil {
			t.Fatal(err)
		}
		m, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		at = m.Sequence.Stream
		if msg.Subject() == bus.HeartbeatSubject {
			continue
		}
		var e struct{ Value string }
		if err := json.Unmarshal(msg.Data(), &e); err != nil {
			t.Fatal(err)
		}
		held[at] = stored{e.Value, msg.Headers().Get(jetstream.MsgIDHeader), msg.Headers().Get("Nats-Batch-Id") != ""}
	}
	return held
}

func sessions(name string, n int) []revoke.Event {
	list := make([]revoke.Event, n)
	for i := range list {
		list[i] = revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("%s-%d", name, i), Reason: "logout"}
	}
	return list
}

// mustStand fails unless each event was acknowledged and stands where its receipt says, and
// each stands in the stream once. It returns how many came in batches.
func mustStand(t *testing.T, js jetstream.JetStream, list []revoke.Event, results []bus.Result, err error) (batched int) {
	t.Helper()
	if err != nil || len(results) != len(list) {
		t.Fatalf("%d results: %v", len(results), err)
	}
	held := events(t, js, bus.DefaultStream)
	times := map[string]int{}
	for _, m := range held {
		times[m.value]++
		if m.batched {
			batched++
		}
	}
	for i, r := range results {
		if m := held[r.Receipt.Sequence]; r.Err != nil || m.value != list[i].Value || times[m.value] != 1 {
			t.Fatalf("event %d: acknowledged at %d, where %q stands, and stored %d times; %v", i, r.Receipt.Sequence, m.value, times[list[i].Value], r.Err)
		}
	}
	return batched
}

// Many events go as atomic batches where the server has them, and as before where not.
// Followers of the stream and of a mirror, which may show half a batch, apply each of them,
// and the digests of their logs agree.
func TestPublishAllInBatches(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	c := rig.TheStream(t, js).CachedInfo().Config
	if c.AllowAtomicPublish != br.Behaviour().Batches {
		t.Errorf("CreateStream allows batches: %t", c.AllowAtomicPublish)
	}
	c.Name, c.Subjects, c.AllowAtomicPublish, c.Mirror = "COPY", nil, false, &jetstream.StreamSource{Name: bus.DefaultStream}
	if _, err := js.CreateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
	origin, mirror := rig.NewList(t, rig.Quick), rig.NewList(t, rig.Quick)
	b := rig.Join(t, conn, bus.Config{}, origin)
	behind := rig.Join(t, conn, bus.Config{Stream: "COPY"}, mirror)
	rig.WaitFresh(t, b, behind)

	list := sessions("s", 2500)
	results, err := b.PublishAll(rig.Within(t), list)
	batched := mustStand(t, js, list, results, err)
	if want := br.Behaviour().Batches; (batched > len(list)/2) != want || !want && batched > 0 {
		t.Errorf("%d of %d events came in batches", batched, len(list))
	}
	rig.Barrier(t, b)
	rig.Barrier(t, behind)
	for _, e := range list {
		rig.MustRefuse(t, origin, rig.Session(e.Value))
		rig.MustRefuse(t, mirror, rig.Session(e.Value))
	}
	rig.Eventually(t, "the mirror's digests agree", func() bool { return mirror.Stats(revoke.Now()).Agreed > 0 })
	if s := mirror.Stats(revoke.Now()); s.Disputed != 0 {
		t.Errorf("%d digests disagree", s.Disputed)
	}
	if s := b.Status().Publishing; s.Acknowledged != uint64(len(list)) || s.Losses+s.Contradicted+s.Republished != 0 {
		t.Errorf("%+v", s)
	}
	for seq, m := range events(t, js, "COPY") {
		if m.batched {
			t.Fatalf("message %d of the mirror bears a batch", seq)
		}
	}
}

// A stream of an older version takes batches once that is allowed, and nothing else of it
// changes; where servers know none, that is said.
func TestAllowBatches(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	nc, js := rig.Client(t, br.URL())
	before := rig.TheStream(t, js).CachedInfo().Config
	before.AllowAtomicPublish = false
	if _, err := js.UpdateStream(rig.Within(t), before); err != nil {
		t.Fatal(err)
	}
	b := rig.Join(t, conn, bus.Config{}, nil)
	list := sessions("before", 300)
	results, err := b.PublishAll(rig.Within(t), list)
	if n := mustStand(t, js, list, results, err); n != 0 {
		t.Errorf("%d events came in batches", n)
	}
	if s := b.Status().Publishing; len(s.Unsafe) != 0 {
		t.Errorf("unsafe: %q", s.Unsafe)
	}
	// It is the stream that CreateStream would have made.
	rig.CreateStream(t, conn, bus.StreamConfig{})
	for range 2 {
		err = bus.AllowBatches(rig.Within(t), nc, "")
		if want := br.Behaviour().Batches; (err == nil) != want || !want && !strings.Contains(err.Error(), "2.12") {
			t.Errorf("AllowBatches: %v", err)
		}
	}
	after := rig.TheStream(t, js).CachedInfo().Config
	if after.AllowAtomicPublish != br.Behaviour().Batches {
		t.Errorf("batches are allowed: %t", after.AllowAtomicPublish)
	}
	before.AllowAtomicPublish, before.Metadata = after.AllowAtomicPublish, after.Metadata // the server notes the level there
	if fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
		t.Errorf("%+v became %+v", before, after)
	}
	list = sessions("after", 300)
	results, err = rig.Join(t, conn, bus.Config{}, nil).PublishAll(rig.Within(t), list)
	if n := mustStand(t, js, list, results, err); br.Behaviour().Batches && n != len(list) {
		t.Errorf("%d events came in batches", n)
	}
	if err := bus.AllowBatches(rig.Within(t), nc, "OTHER"); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("no such stream: %v", err)
	}
}

// throughProxy returns a member that publishes through a proxy.
func throughProxy(t *testing.T, target string) (*rig.Proxy, *bus.Member) {
	t.Helper()
	p := rig.NewProxy(t, target)
	return p, rig.Join(t, rig.Dial(t, p.URL()), bus.Config{}, nil)
}

// within has f called once, at the message of a batch with that number.
func within(p *rig.Proxy, number int, f func(piece []byte)) {
	header := fmt.Appendf(nil, "Nats-Batch-Sequence: %d\r\n", number)
	var once sync.Once
	p.Sent(func(piece []byte) {
		if bytes.Contains(piece, header) {
			once.Do(func() { f(piece) })
		}
	})
}

// A connection that is cut in the midst of a batch, or before its answer, loses nothing and
// stores nothing twice.
func TestBatchIsCut(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	p, b := throughProxy(t, br.URL())
	list := sessions("midst", 700)
	var cut atomic.Bool
	within(p, 300, func([]byte) { cut.Store(true); p.Cut() })
	results, err := b.PublishAll(rig.Within(t), list)
	if mustStand(t, js, list, results, err); !cut.Load() {
		t.Error("nothing was cut")
	}

	var lost atomic.Bool
	within(p, 700, func([]byte) {
		var once sync.Once
		p.Lose(func(string) bool {
			once.Do(func() { lost.Store(true); go func() { p.Lose(nil); p.Cut() }() })
			return true
		})
	})
	more := sessions("answer", 700)
	results, err = b.PublishAll(rig.Within(t), more)
	if mustStand(t, js, more, results, err); !lost.Load() {
		t.Error("no answer was lost")
	}
	if s := b.Status().Publishing; s.Acknowledged != 1400 || s.Losses+s.Contradicted+s.Republished != 0 {
		t.Errorf("%+v", s)
	}
}

// A batch that holds a message id that was seen is refused whole, and costs none of the
// others.
func TestBatchHoldsASeenID(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	p, b := throughProxy(t, br.URL())
	first := rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "first"})
	seen := events(t, js, bus.DefaultStream)[first.Sequence].id
	var planted atomic.Bool
	within(p, 400, func(piece []byte) {
		const header = "Nats-Msg-Id: "
		if at := bytes.Index(piece, []byte(header)); at >= 0 && len(piece) >= at+len(header)+len(seen) {
			planted.Store(len(seen) == copy(piece[at+len(header):], seen))
		}
	})
	list := sessions("s", 700)
	results, err := b.PublishAll(rig.Within(t), list)
	if n := mustStand(t, js, list, results, err); n != 0 || planted.Load() != br.Behaviour().Batches {
		t.Errorf("planted %t, and %d events came in a batch", planted.Load(), n)
	}
	if s := b.Status().Publishing; s.Acknowledged != 701 || s.Losses+s.Contradicted+s.Republished != 0 {
		t.Errorf("%+v", s)
	}
}

// serverEnv has a process of this test be a server at the port and with the directory that
// follow, each after a space.
const serverEnv = "HYBRIDTOKEN_E2E_SERVER"

func aServer() {
	words := strings.Fields(os.Getenv(serverEnv))
	port, _ := strconv.Atoi(words[0])
	s, err := server.NewServer(&server.Options{
		ServerName: "killed", Host: "127.0.0.1", Port: port, StoreDir: words[1], JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	s.Start()
	if !s.ReadyForConnections(rig.Deadline) {
		fmt.Println("failed: not ready")
		return
	}
	fmt.Println("ready")
	select {}
}

// A server that is killed in the midst of a batch, or while it commits one, and starts again
// has each event once.
func TestServerIsKilledInTheMidstOfABatch(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	port, dir := rig.FreePort(t), t.TempDir()
	start := func() *rig.Role {
		r := rig.StartRole(ctx, t, serverEnv, fmt.Sprint(port, " ", dir))
		if line := r.Next(); line != "ready" {
			t.Fatal(line)
		}
		return r
	}
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	srv := start()
	rig.CreateStream(t, rig.Dial(t, url), bus.StreamConfig{})
	p, b := throughProxy(t, url)
	for _, number := range []int{200, 699, 700} {
		killed := make(chan struct{})
		within(p, number, func([]byte) {
			go func() { // what was sent goes on to the server meanwhile
				srv.Kill()
				close(killed)
			}()
		})
		list := sessions(fmt.Sprint("at-", number), 700)
		type outcome struct {
			results []bus.Result
			err     error
		}
		done := make(chan outcome, 1)
		go func() {
			results, err := b.PublishAll(ctx, list)
			done <- outcome{results, err}
		}()
		select {
		case <-killed:
		case <-ctx.Done():
			t.Fatal("the batch was never sent")
		}
		srv = start()
		o := <-done
		_, js := rig.Client(t, url)
		mustStand(t, js, list, o.results, o.err)
	}
	srv.Kill()
	if s := b.Status().Publishing; s.Acknowledged != 2100 || s.Losses+s.Contradicted+s.Republished != 0 {
		t.Errorf("%+v", s)
	}
}

// The leader of a replicated stream that crashes while batches are under way costs none of
// their events.
func TestLeaderCrashesBetweenBatches(t *testing.T) {
	t.Parallel()
	c := rig.NewCluster(t, 3, nil)
	c.CreateStream(bus.StreamConfig{})
	leader := c.Leader(bus.DefaultStream)
	rest := []int{(leader + 1) % 3, (leader + 2) % 3}
	p := rig.NewProxy(t, c.URL(rest[0]))
	b := rig.Join(t, rig.Dial(t, p.URL()), bus.Config{}, nil)
	sent := make(chan struct{})
	within(p, 900, func([]byte) { close(sent) })
	go func() {
		<-sent
		c.Crash(leader)
	}()
	list := sessions("s", 4000)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	results, err := b.PublishAll(ctx, list)
	_, js := rig.Client(t, c.URLs(rest...))
	mustStand(t, js, list, results, err)
	if s := b.Status().Publishing; s.Acknowledged != 4000 || s.Losses+s.Contradicted != 0 {
		t.Errorf("%+v", s)
	}
}
