package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// publishing is budget B10.
func (r *run) publishing() error {
	rounds := pick(r, 10, 3)
	r.page.title("Publishing many")
	r.page.line("One call of `PublishAll` with session events, by a `Member` that has published nothing yet, beside the bare client library's `PublishMsgAsync` of the same messages, byte for byte but for the headers of batches and fresh message ids, as many in flight as it allows by default (4,000), until all are acknowledged. Each starts with an empty stream; they take turns, %d rounds. Servers and publisher share this machine. × is speed over speed.", rounds)
	rows := [][]string{{"stream", "events", "bare, events a second", "`PublishAll`, events a second", "×"}}
	var verdicts []measure.Verdict
	var plot []bar
	said := ""
	for _, c := range []struct {
		name    string
		servers int
		always  bool
		events  int
		least   float64
	}{
		{"one replica", 1, false, pick(r, 100_000, 10_000), .5},
		{"one replica, sync always", 1, true, pick(r, 20_000, 2_000), 8},
		{"three replicas, sync always", 3, true, pick(r, 100_000, 5_000), .9},
	} {
		bare, ours, err := publishMany(c.servers, c.always, c.events, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		speed := bare.Over(ours)
		perSecond := func(s measure.Samples) float64 { return float64(c.events) / s.Median() }
		rows = append(rows, []string{c.name, thousands(c.events), thousands(int(perSecond(bare))), thousands(int(perSecond(ours))), spread(speed, decimal)})
		plot = append(plot, bar{"bare, " + c.name, perSecond(bare), false}, bar{"PublishAll, " + c.name, perSecond(ours), true})
		verdicts = append(verdicts, measure.JudgeLeast(speed, c.least))
		if said != "" {
			said += ", "
		}
		said += fmt.Sprintf("%.2f× (%s)", speed.Median(), c.name)
	}
	r.page.table(rows...)
	r.judge("B10", "PublishAll, over bare PublishAsync's speed", said, "at least 0.5×, 8×, 0.9×", measure.Worst(verdicts...))
	return r.bars("publishing.svg", "Publishing many", "events a second, logarithmic", plot)
}

// publishMany returns how many seconds each round of each took.
func publishMany(servers int, always bool, events, rounds int) (bare, ours measure.Samples, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	urls, stop, err := startServers(servers, always)
	defer stop()
	if err != nil {
		return nil, nil, err
	}
	nc, err := nats.Connect(urls)
	if err != nil {
		return nil, nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	list := make([]revoke.Event, events)
	for i := range list {
		list[i] = revoke.Event{Kind: revoke.KindSession, Value: load.Value(i), Reason: "logout"}
	}
	var same []*nats.Msg // as ours
	for round := range rounds + 1 {
		var took [2]float64
		for side := range took {
			if (round+side)%2 == 0 || same == nil {
				took[1], same, err = publishOurs(ctx, urls, nc, js, servers, list, same)
			} else {
				took[0], err = publishBare(ctx, nc, js, servers, same, round)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		if round > 0 { // the first warms
			bare, ours = append(bare, took[0]), append(ours, took[1])
		}
	}
	return bare, ours, nil
}

// emptyStream makes the stream anew.
func emptyStream(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, servers, events int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		_ = js.DeleteStream(try, bus.DefaultStream) // there may be none
		err := bus.CreateStream(try, nc, bus.StreamConfig{Replicas: servers, MaxBytes: max(256<<20, int64(events)*1024)})
		cancel()
		if err == nil || ctx.Err() != nil {
			runtime.GC()
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func publishOurs(ctx context.Context, urls string, nc *nats.Conn, js jetstream.JetStream, servers int, list []revoke.Event, known []*nats.Msg) (seconds float64, same []*nats.Msg, err error) {
	if err := emptyStream(ctx, nc, js, servers, len(list)); err != nil {
		return 0, nil, err
	}
	own, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if err != nil {
		return 0, nil, err
	}
	defer own.Close()
	m, err := bus.Join(ctx, bus.Config{Conn: own, Issuers: []string{load.Issuer}})
	if err != nil {
		return 0, nil, err
	}
	defer m.Close()
	began := time.Now()
	if _, err := m.PublishAll(ctx, list); err != nil {
		return 0, nil, err
	}
	seconds = time.Since(began).Seconds()
	if known != nil {
		return seconds, known, nil
	}
	c, err := js.OrderedConsumer(ctx, bus.DefaultStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, nil, err
	}
	for len(same) < len(list) {
		got, err := c.Fetch(min(5000, len(list)-len(same)))
		if err != nil {
			return 0, nil, err
		}
		before := len(same)
		for msg := range got.Messages() {
			h := nats.Header{}
			for _, name := range []string{jetstream.MsgTTLHeader, jetstream.ExpectedStreamHeader} {
				h.Set(name, msg.Headers().Get(name))
			}
			same = append(same, &nats.Msg{Subject: msg.Subject(), Data: msg.Data(), Header: h})
		}
		if len(same) == before {
			return 0, nil, fmt.Errorf("%d of %d messages read back", len(same), len(list))
		}
	}
	return seconds, same, nil
}

func publishBare(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, servers int, same []*nats.Msg, round int) (seconds float64, err error) {
	if err := emptyStream(ctx, nc, js, servers, len(same)); err != nil {
		return 0, err
	}
	began := time.Now()
	acks := make([]jetstream.PubAckFuture, len(same))
	for i, msg := range same {
		again := &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: nats.Header{
			jetstream.MsgTTLHeader: msg.Header[jetstream.MsgTTLHeader], jetstream.ExpectedStreamHeader: msg.Header[jetstream.ExpectedStreamHeader],
			jetstream.MsgIDHeader: {fmt.Sprintf("%032x%032x", round, i)}, // as long as ours
		}}
		if acks[i], err = js.PublishMsgAsync(again, jetstream.WithStallWait(time.Minute)); err != nil {
			return 0, err
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(began).Seconds(), nil
}
