// Command join has many followers join a stream at once, beside as many bare consumers
// that only count its messages, in rounds that alternate (budget B7 of REPORT.md):
//
//	go run ./benchmarks/join -followers 64 -live 100000
//
// Server, followers and consumers share this process and its cores, so absolute times
// say little; the ratio says what a follower costs beyond reading the log. Memory is
// that of the heap after a garbage collection, all followers alive.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func main() {
	followers := flag.Int("followers", 64, "how many join at once")
	live := flag.Int("live", 100_000, "live revocations in the stream")
	rounds := flag.Int("rounds", 3, "rounds of each kind")
	profile := flag.String("cpuprofile", "", "file for a CPU profile of the followers' joining, server included")
	flag.DurationVar(&patience, "patience", patience, "what ends a round that does not come to an end")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, "join:", err)
			os.Exit(1)
		}
		profiling = f
	}
	if err := run(*followers, *live, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "join:", err)
		os.Exit(1)
	}
}

func run(followers, live, rounds int) error {
	if followers < 1 || live < 1 || rounds < 1 {
		return errors.New("flags must be positive")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	dir, err := os.MkdirTemp("", "join")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	srv, err := embedded.Start(ctx, embedded.Config{Dir: dir, Listen: "127.0.0.1:0", MaxBytes: max(256<<20, int64(live)*1024)})
	if err != nil {
		return err
	}
	defer srv.Close()
	size, err := fill(ctx, srv.URL(), live)
	if err != nil {
		return err
	}
	fmt.Printf("%d live revocations, %d bytes each in the stream, %d joining, %d cores\n", live, size/uint64(live), followers, runtime.GOMAXPROCS(0))

	var bare, ours []time.Duration
	var bareCPU, oursCPU time.Duration
	for i := range rounds {
		used := measure.Processor()
		d, err := joinBare(ctx, srv.URL(), followers, live)
		if err != nil {
			return err
		}
		bareCPU += measure.Processor() - used
		bare = append(bare, d)
		o, err := join(ctx, srv.URL(), followers)
		if err != nil {
			return err
		}
		ours = append(ours, o.took)
		oursCPU += o.processor
		fmt.Printf("round %d: bare %s, followers %s (first %s); heartbeats sent %d, then %.1f a second of %d bytes; consumers %d during, %d after; %.1f KiB a follower with its list\n\tsubscriptions begun %d, replays %d; warned of: %s\n",
			i+1, d.Round(time.Millisecond), o.took.Round(time.Millisecond), o.first.Round(time.Millisecond), o.beats, o.rate, o.size, o.during, o.after, float64(o.heap)/1024/float64(followers), o.subscriptions, o.replays, o.reasons)
	}
	slices.Sort(bare)
	slices.Sort(ours)
	b, o := bare[len(bare)/2], ours[len(ours)/2]
	fmt.Printf("median: bare %s, followers %s, ratio %.2f (budget 1.1); spread bare %.2f, followers %.2f\n", b.Round(time.Millisecond), o.Round(time.Millisecond),
		o.Seconds()/b.Seconds(), bare[len(bare)-1].Seconds()/bare[0].Seconds(), ours[len(ours)-1].Seconds()/ours[0].Seconds())
	fmt.Printf("processor time of a round, server included: bare %s, followers %s, ratio %.2f\n", (bareCPU / time.Duration(rounds)).Round(time.Millisecond),
		(oursCPU / time.Duration(rounds)).Round(time.Millisecond), oursCPU.Seconds()/bareCPU.Seconds())
	return nil
}

// fill publishes the revocations and returns the stream's size.
func fill(ctx context.Context, url string, live int) (uint64, error) {
	b, err := bus.Join(ctx, bus.Config{Servers: url, Issuers: []string{"https://auth.example.com"}})
	if err != nil {
		return 0, err
	}
	defer b.Close()
	for done := 0; done < live; {
		events := make([]revoke.Event, min(10_000, live-done))
		for i := range events {
			events[i] = revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("%032x", done+i), Reason: "logout"}
		}
		if _, err := b.PublishAll(ctx, events); err != nil {
			return 0, err
		}
		done += len(events)
	}
	st, err := state(ctx, url)
	return st.Bytes, err
}

func state(ctx context.Context, url string) (jetstream.StreamState, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	s, err := js.Stream(ctx, bus.DefaultStream)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return s.CachedInfo().State, nil
}

// joinBare has n consumers, each on its own connection, count the messages.
func joinBare(ctx context.Context, url string, n, live int) (time.Duration, error) {
	streams := make([]jetstream.JetStream, n)
	for i := range streams {
		nc, err := nats.Connect(url)
		if err != nil {
			return 0, err
		}
		defer nc.Close()
		if streams[i], err = jetstream.New(nc); err != nil {
			return 0, err
		}
	}
	errs := make([]error, n)
	began := time.Now()
	var wg sync.WaitGroup
	for i, js := range streams {
		wg.Go(func() { errs[i] = count(ctx, js, live) })
	}
	wg.Wait()
	return time.Since(began), errors.Join(errs...)
}

func count(ctx context.Context, js jetstream.JetStream, live int) error {
	c, err := js.OrderedConsumer(ctx, bus.DefaultStream, jetstream.OrderedConsumerConfig{InactiveThreshold: time.Second})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	var once sync.Once
	got := 0
	cc, err := c.Consume(func(m jetstream.Msg) {
		if got++; got >= live {
			once.Do(func() { close(done) })
		}
	}, jetstream.PullMaxMessages(5000))
	if err != nil {
		return err
	}
	defer cc.Stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

type joined struct {
	took, first   time.Duration
	processor     time.Duration // of server and followers, until all are fresh
	beats         uint64
	rate          float64 // heartbeats a second, once all are fresh
	size          uint64  // of one in the stream
	during, after int
	heap          uint64

	subscriptions, replays uint64 // begun; one of each for each follower if nothing is given up
	reasons                *tally
}

// watch is for how long the heartbeats are counted once all are fresh.
const watch = 5 * time.Second

// patience ends a round that does not come to an end.
var patience = 10 * time.Minute

// profiling takes the CPU profile of the followers' last round.
var profiling *os.File

// join has n followers, each on its own connection, become fresh.
func join(ctx context.Context, url string, n int) (joined, error) {
	j := joined{reasons: &tally{n: map[string]int{}}}
	log := slog.New(j.reasons)
	conns := make([]*nats.Conn, n)
	before := heap()
	for i := range conns {
		var err error
		if conns[i], err = nats.Connect(url, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(2*time.Second)); err != nil {
			return j, err
		}
		defer conns[i].Close()
	}
	followers := make([]*bus.Member, n)
	lists := make([]*revoke.List, n)
	errs := make([]error, n)
	took := make([]time.Duration, n)
	if profiling != nil {
		if err := errors.Join(profiling.Truncate(0), seek(profiling), pprof.StartCPUProfile(profiling)); err != nil {
			return j, err
		}
		defer pprof.StopCPUProfile() // a second time does nothing
	}
	began, used := time.Now(), measure.Processor()
	var wg sync.WaitGroup
	for i, nc := range conns {
		wg.Go(func() {
			var err error
			if lists[i], err = revoke.NewList(revoke.Config{}); err == nil {
				followers[i], err = bus.Join(ctx, bus.Config{Conn: nc, List: lists[i], Logger: log})
			}
			if err == nil {
				ctx, cancel := context.WithTimeout(ctx, patience)
				err = followers[i].WaitFresh(ctx)
				cancel()
				if s := followers[i].Status(); err != nil {
					err = fmt.Errorf("follower %d, subscription %d, at %d: %w (%w); warned of: %s", i, s.Subscriptions, s.Sequence, err, s.Err, j.reasons)
				}
			}
			took[i], errs[i] = time.Since(began), err
		})
	}
	wg.Wait()
	j.processor = measure.Processor() - used
	pprof.StopCPUProfile()
	if err := errors.Join(errs...); err != nil {
		return j, err
	}
	for i, f := range followers {
		j.subscriptions += f.Status().Subscriptions
		j.replays += lists[i].Stats(revoke.Now()).Replays
	}
	j.first, j.took = slices.Min(took), slices.Max(took)
	j.heap = heap() - min(before, heap())
	st, err := state(ctx, url)
	if err != nil {
		return j, err
	}
	j.during = st.Consumers
	time.Sleep(watch)
	later, err := state(ctx, url)
	if err != nil {
		return j, err
	}
	if n := later.LastSeq - st.LastSeq; n > 0 {
		j.rate, j.size = float64(n)/watch.Seconds(), (later.Bytes-min(later.Bytes, st.Bytes))/n
	}
	for _, f := range followers {
		j.beats += f.Status().Sent
		f.Close()
	}
	st, err = state(ctx, url)
	j.after = st.Consumers
	return j, err
}

func seek(f *os.File) error { _, err := f.Seek(0, io.SeekStart); return err }

// A tally counts why followers and connections began again.
type tally struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (t *tally) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (t *tally) WithAttrs([]slog.Attr) slog.Handler           { return t }
func (t *tally) WithGroup(string) slog.Handler                { return t }

func (t *tally) Handle(_ context.Context, r slog.Record) error {
	what := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "reason" || a.Key == "error" {
			what += ": " + a.Value.String()
		}
		return true
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n[what]++
	return nil
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.n) == 0 {
		return "nothing"
	}
	var list []string
	for what, n := range t.n {
		list = append(list, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
