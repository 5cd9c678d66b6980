package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// startServers runs n servers in this process, JetStream on file, in a directory that
// stop removes; more than one are a cluster. Always is sync_interval: always.
func startServers(n int, always bool) (urls string, stop func(), err error) {
	var all []*server.Server
	dir, err := os.MkdirTemp("", "report")
	stop = func() {
		for _, s := range all {
			s.Shutdown()
			s.WaitForShutdown()
		}
		os.RemoveAll(dir)
	}
	if err != nil {
		return "", func() {}, err
	}
	var held []net.Listener
	routes := make([]*url.URL, n) // a cluster must know them all before it starts
	for i := range routes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", stop, err
		}
		routes[i] = &url.URL{Scheme: "nats", Host: l.Addr().String()}
		held = append(held, l)
	}
	for _, l := range held {
		l.Close()
	}
	for i := range n {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, StoreDir: fmt.Sprintf("%s/n%d", dir, i),
			JetStream: true, SyncAlways: always, NoSigs: true, NoLog: true,
		}
		if n > 1 {
			_, port, _ := net.SplitHostPort(routes[i].Host)
			o.Cluster = server.ClusterOpts{Name: "report", Host: "127.0.0.1", PoolSize: -1}
			if o.Cluster.Port, err = strconv.Atoi(port); err != nil {
				return "", stop, err
			}
			o.Routes = routes
		}
		s, err := server.NewServer(o)
		if err != nil {
			return "", stop, err
		}
		all = append(all, s)
		s.Start()
	}
	var list []string
	for _, s := range all {
		if !s.ReadyForConnections(30 * time.Second) {
			return "", stop, errors.New("a server is not ready")
		}
		list = append(list, s.ClientURL())
	}
	return strings.Join(list, ","), stop, nil
}

// createOnCluster makes the stream, for which there may be no leader at first: a request
// that nobody answers is sent again.
func createOnCluster(ctx context.Context, nc *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		err := bus.CreateStream(try, nc, bus.StreamConfig{})
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// propagation is budget B6. The same publish reaches bare consumers and followers, as
// many of each: both are timed from before it was sent.
func (r *run) propagation() error {
	counts := pick(r, []int{1, 16, 64}, []int{1, 16})
	rounds, events := pick(r, 16, 8), pick(r, 40, 4) // events of a round
	r.page.title("Propagation")
	r.page.line("Three servers, stream with three replicas on file, sync always, all in this process. From before `Publish` until a replica has applied the event, and, for the same message, until a bare consumer is given it; as many bare consumers as replicas, over all of them and %d rounds of %d events; × is the ratio of a round's medians. One core is busy asking all replicas until they refuse.", rounds, events)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	urls, stop, err := startServers(3, true)
	defer stop()
	if err != nil {
		return err
	}
	nc, err := nats.Connect(urls)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := createOnCluster(ctx, nc); err != nil {
		return err
	}
	rows := [][]string{{"replicas", "bare p50", "applied p50", "×", "bare p99", "applied p99", "bare most", "applied most"}}
	var verdicts []measure.Verdict
	said := ""
	bareLine, ourLine := series{name: "bare consumer, p50"}, series{name: "replica, p50"}
	bareTail, ourTail := series{name: "bare consumer, p99"}, series{name: "replica, p99"}
	for _, n := range counts {
		bare, ours, err := propagate(ctx, urls, n, rounds*events)
		if err != nil {
			return fmt.Errorf("%d replicas: %w", n, err)
		}
		ratios := medians(ours, rounds).Over(medians(bare, rounds))
		rows = append(rows, []string{fmt.Sprint(n), measure.Nanos(bare.Median()), measure.Nanos(ours.Median()), spread(ratios, decimal),
			measure.Nanos(bare.Quantile(.99)), measure.Nanos(ours.Quantile(.99)), measure.Nanos(bare.Quantile(1)), measure.Nanos(ours.Quantile(1))})
		ratio := ours.Median() / bare.Median()
		v := measure.Judge(ratios, 1.15)
		if (v == measure.Met) != (ratio <= 1.15) {
			v = measure.Noisy
		}
		verdicts = append(verdicts, v)
		if said != "" {
			said += ", "
		}
		said += fmt.Sprintf("%.2f× (%d)", ratio, n)
		for _, l := range []struct {
			s *series
			y float64
		}{{&bareLine, bare.Median()}, {&ourLine, ours.Median()}, {&bareTail, bare.Quantile(.99)}, {&ourTail, ours.Quantile(.99)}} {
			l.s.x, l.s.y = append(l.s.x, float64(n)), append(l.s.y, l.y/1e6)
		}
	}
	r.page.table(rows...)
	r.judge("B6", "publish to applied over publish to delivered, p50 (replicas)", said, "1.15×", measure.Worst(verdicts...))
	return r.lines("propagation.svg", "Propagation", "replicas", "ms", false, bareLine, ourLine, bareTail, ourTail)
}

// medians are those of so many rounds, equally long, one after the other.
func medians(all measure.Samples, rounds int) (list measure.Samples) {
	for part := range slices.Chunk(all, len(all)/rounds) {
		list = append(list, part.Median())
	}
	return list
}

// propagate returns the times to each bare consumer and to each replica, event by event.
func propagate(ctx context.Context, urls string, n, events int) (bare, ours measure.Samples, err error) {
	var closers []func()
	defer func() {
		for _, c := range closers {
			c()
		}
	}()
	join := func(cfg bus.Config) (*bus.Member, error) {
		cfg.Servers = urls
		m, err := bus.Join(ctx, cfg)
		if err == nil {
			closers = append(closers, func() { m.Close() })
		}
		return m, err
	}
	var lists []*revoke.List
	replica := func() error {
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			return err
		}
		lists = append(lists, list)
		m, err := join(bus.Config{List: list})
		if err != nil {
			return err
		}
		return m.WaitFresh(ctx)
	}
	var mu sync.Mutex
	arrived := map[uint64][]time.Time{}
	consumer := func() error {
		nc, err := nats.Connect(urls)
		if err != nil {
			return err
		}
		closers = append(closers, nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		c, err := js.OrderedConsumer(ctx, bus.DefaultStream, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy})
		if err != nil {
			return err
		}
		cc, err := c.Consume(func(m jetstream.Msg) {
			now := time.Now()
			md, err := m.Metadata()
			if err != nil {
				return
			}
			mu.Lock()
			arrived[md.Sequence.Stream] = append(arrived[md.Sequence.Stream], now)
			mu.Unlock()
		})
		if err != nil {
			return err
		}
		closers = append(closers, cc.Stop)
		return nil
	}
	// By turns: the server may well serve its consumers in the order in which they came.
	for i := range n {
		first, second := replica, consumer
		if i%2 == 1 {
			first, second = second, first
		}
		if err := errors.Join(first(), second()); err != nil {
			return nil, nil, err
		}
	}
	publisher, err := join(bus.Config{Issuers: []string{load.Issuer}})
	if err != nil {
		return nil, nil, err
	}
	for i := range events + 5 {
		value := fmt.Sprintf("propagate-%d-%d-%d", n, i, time.Now().UnixNano())
		id := revoke.Identity{Issuer: load.Issuer, Session: value, IssuedAt: time.Now()}
		times := make([]time.Time, n)
		seen := make(chan struct{})
		start := time.Now()
		go func() {
			defer close(seen)
			// One core asks all replicas, again and again: a check takes less than a
			// microsecond.
			for left, end := n, start.Add(10*time.Second); left > 0 && time.Now().Before(end); runtime.Gosched() {
				for k, l := range lists {
					if times[k].IsZero() && errors.Is(l.Check(revoke.Now(), &id, revoke.InsecureAllow()), revoke.ErrRevoked) {
						times[k] = time.Now()
						left--
					}
				}
			}
		}()
		receipt, err := publisher.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: value})
		if err != nil {
			return nil, nil, err
		}
		<-seen
		if i < 5 {
			continue // warm
		}
		var applied, delivered measure.Samples
		for _, t := range times {
			if !t.IsZero() {
				applied = append(applied, float64(t.Sub(start)))
			}
		}
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
			mu.Lock()
			at := arrived[receipt.Sequence]
			if len(at) == n {
				for _, t := range at {
					delivered = append(delivered, float64(t.Sub(start)))
				}
				delete(arrived, receipt.Sequence)
			}
			mu.Unlock()
			if delivered != nil {
				break
			}
		}
		if len(applied) != n || len(delivered) != n {
			return nil, nil, fmt.Errorf("event %d: %d of %d replicas and %d consumers timed", i, len(applied), n, len(delivered))
		}
		bare, ours = append(bare, delivered...), append(ours, applied...)
	}
	return bare, ours, nil
}
