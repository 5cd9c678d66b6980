package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// replay is budget B5.
func (r *run) replay() error {
	live := pick(r, 1_000_000, 50_000)
	r.page.title("Replay")
	r.page.line("A follower with an empty List reads %s live session events from the server's disk, decodes and applies them until it is fresh, beside a bare consumer that only counts the same messages. Server and reader share this machine.", thousands(live))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	// Reading is measured: what was written need not have reached the disk at once.
	server, stop, err := startServers(1, false)
	defer stop()
	if err != nil {
		return err
	}
	if err := publishSessions(ctx, server, live); err != nil {
		return err
	}
	var bare, ours measure.Samples
	for round := range pick(r, 8, 3) + 1 {
		b, err := countMessages(ctx, server, live)
		if err != nil {
			return err
		}
		o, err := followUntilFresh(ctx, server, live)
		if err != nil {
			return err
		}
		if round > 0 { // the first warms
			bare, ours = append(bare, float64(b)), append(ours, float64(o))
		}
	}
	speed := bare.Over(ours) // in messages a second, ours over theirs
	perSecond := func(s measure.Samples) float64 { return float64(live) / (s.Median() / 1e9) }
	r.page.table(
		[]string{"reader", "time", "messages a second"},
		[]string{"bare consumer", spread(bare, measure.Nanos), thousands(int(perSecond(bare)))},
		[]string{"**follower, fresh**", spread(ours, measure.Nanos), thousands(int(perSecond(ours)))},
	)
	r.page.line("%s of the bare consumer's speed.", spread(speed, decimal))
	r.judge("B5", fmt.Sprintf("replay of %s events, over a bare consumer's speed", thousands(live)), decimal(speed.Median())+"×", "at least 0.85×", measure.JudgeLeast(speed, .85))
	return r.bars("replay.svg", "Replay", "messages a second, logarithmic", []bar{{"bare consumer", perSecond(bare), false}, {"follower", perSecond(ours), true}})
}

func publishSessions(ctx context.Context, url string, live int) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := bus.CreateStream(ctx, nc, bus.StreamConfig{Replicas: 1, MaxBytes: max(256<<20, int64(live)*1024)}); err != nil {
		return err
	}
	b, err := bus.Join(ctx, bus.Config{Servers: url, Issuers: []string{load.Issuer}})
	if err != nil {
		return err
	}
	defer b.Close()
	for done := 0; done < live; {
		events := make([]revoke.Event, min(10_000, live-done))
		for i := range events {
			events[i] = revoke.Event{Kind: revoke.KindSession, Value: load.Value(done + i), Reason: "logout"}
		}
		if _, err := b.PublishAll(ctx, events); err != nil {
			return err
		}
		done += len(events)
	}
	return nil
}

func countMessages(ctx context.Context, url string, live int) (time.Duration, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	c, err := js.OrderedConsumer(ctx, bus.DefaultStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	got := 0
	cc, err := c.Consume(func(jetstream.Msg) {
		if got++; got == live {
			close(done)
		}
	}, jetstream.PullMaxMessages(5000))
	if err != nil {
		return 0, err
	}
	defer cc.Stop()
	select {
	case <-done:
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func followUntilFresh(ctx context.Context, url string, live int) (time.Duration, error) {
	// Connected before the clock starts, as the bare consumer is.
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	m, err := bus.Join(ctx, bus.Config{Conn: nc, List: list})
	if err != nil {
		return 0, err
	}
	defer m.Close()
	if err := m.WaitFresh(ctx); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if n := list.Stats(revoke.Now()).Applied[revoke.KindSession]; n < uint64(live) {
		return 0, fmt.Errorf("fresh with %d of %d events applied", n, live)
	}
	return took, nil
}

var joinRound = regexp.MustCompile(`(?m)^round \d+: bare (\S+), followers (\S+) `)

// joining is budget B7, measured by the program beside this one.
func (r *run) joining() error {
	followers, live, rounds := pick(r, 64, 8), pick(r, 100_000, 5_000), pick(r, 8, 2)
	r.page.title("Many followers joining at once")
	ctx, cancel := context.WithTimeout(context.Background(), pick(r, 20*time.Minute, 90*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "github.com/hybridtoken/hybridtoken/benchmarks/join", "-followers", fmt.Sprint(followers), "-live", fmt.Sprint(live), "-rounds", fmt.Sprint(rounds))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("benchmarks/join with %d followers and %d live: %w: %s", followers, live, err, lastLine(out.Bytes()))
	}
	bare, ours, err := joinRounds(out.Bytes(), rounds)
	if err != nil {
		return err
	}
	ratio := ours.Over(bare)
	r.page.line("%d followers, %s live revocations, %d rounds of each in turn: bare consumers %.2f s, followers fresh %.2f s; ratio of a round %.2f [%.2f to %.2f].", followers, thousands(live), rounds,
		bare.Median(), ours.Median(), ratio.Median(), ratio.Quantile(.25), ratio.Quantile(.75))
	r.judge("B7", fmt.Sprintf("%d followers joining, %s live, over bare consumers", followers, thousands(live)), fmt.Sprintf("%.2f×", ratio.Median()), "1.1×", measure.Judge(ratio, 1.1))
	return nil
}

// joinRounds reads the seconds of each round out of what benchmarks/join printed.
func joinRounds(printed []byte, want int) (bare, ours measure.Samples, err error) {
	for _, m := range joinRound.FindAllSubmatch(printed, -1) {
		b, err1 := time.ParseDuration(string(m[1]))
		o, err2 := time.ParseDuration(string(m[2]))
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, fmt.Errorf("benchmarks/join: %w", err)
		}
		bare, ours = append(bare, b.Seconds()), append(ours, o.Seconds())
	}
	if len(bare) != want {
		return nil, nil, fmt.Errorf("benchmarks/join printed %d rounds, not %d", len(bare), want)
	}
	return bare, ours, nil
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
