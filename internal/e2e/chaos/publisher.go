package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
)

const (
	publishWorkers = 96
	publishTimeout = 6 * time.Second
	reportEvery    = 100 * time.Millisecond
)

// A publisher publishes events, each until it is acknowledged, and writes down what
// it was told.
type publisher struct {
	cfg   childConfig
	clock clock
	log   *slog.Logger
	bus   *bus.Member
	out   *recorder

	mu   sync.Mutex
	next uint32 // guarded by mu

	acked, failed atomic.Uint64
	lastAck       atomic.Int64
}

func runPublisher(cfg childConfig, log *slog.Logger, commands <-chan string) error {
	p := &publisher{cfg: cfg, clock: newClock(), log: log}
	var err error
	if p.out, err = newRecorder(fileName(cfg.Dir, "publisher", cfg.Incarnation), 0); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if p.bus, err = join(cfg, log, bus.Config{Issuers: []string{issuerName}}); err != nil {
		return err
	}
	defer p.bus.Close()

	// What could not be sent in an outage is made up for later, within limits.
	tickets := make(chan struct{}, 20*cfg.Rate)
	stop := make(chan struct{})
	var pace, workers, watch sync.WaitGroup
	pace.Go(func() {
		defer close(tickets)
		const tick = 5 * time.Millisecond
		t := time.NewTicker(tick)
		defer t.Stop()
		owed, last := 0.0, time.Now()
		for {
			select {
			case now := <-t.C:
				owed += now.Sub(last).Seconds() * float64(cfg.Rate)
				last = now
			case <-stop:
				return
			}
			for ; owed >= 1; owed-- {
				select {
				case tickets <- struct{}{}:
				default:
				}
			}
		}
	})
	for range publishWorkers {
		workers.Go(func() {
			for range tickets {
				if err := p.publish(ctx); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	watch.Go(func() { p.watch(ctx) })

	if c := <-commands; c != "stop" {
		return fmt.Errorf("no command %q", c)
	}
	close(stop)
	for range tickets { // what is owed is forgiven; what was begun is finished
	}
	pace.Wait()
	workers.Wait()
	cancel()
	watch.Wait()
	return p.out.close()
}

// publish publishes one event, however long that takes.
func (p *publisher) publish(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	r := ref{uint16(p.cfg.Incarnation), p.next}
	p.next++
	before := now.UnixMilli() + 2000
	err := p.note(publication{kind: pubAttempt, number: r.number, at: p.clock.now(), before: before})
	p.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, publishTimeout)
		receipt, err := p.bus.Publish(attempt, r.event(now, before))
		cancel()
		at := p.clock.now()
		if err == nil {
			p.acked.Add(1)
			p.lastAck.Store(int64(at))
			return p.note(publication{kind: pubAcked, number: r.number, at: at, sequence: receipt.Sequence})
		}
		p.log.Warn("publish", "error", err)
		p.failed.Add(1)
		if err := p.note(publication{kind: pubFailed, number: r.number, at: at}); err != nil {
			return err
		}
		select { // heard; again, as a caller has to
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *publisher) note(r publication) error { return p.out.add(r.encode) }

// watch writes down when the stream was found to have lost events, and when all that
// is known is republished, and reports to the driver.
func (p *publisher) watch(ctx context.Context) {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	var losses uint64
	quiet := 0 // looks in a row at which nothing was pending
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		at := p.clock.now()
		s := p.bus.Status().Publishing
		if s.Losses != losses {
			losses, quiet = s.Losses, 0
			_ = p.note(publication{kind: pubLossy, at: at, losses: uint32(losses)})
		}
		// Republishing begins a moment after the loss is counted.
		if s.Pending > 0 {
			quiet = 0
		} else if quiet++; quiet == 3 && losses > 0 {
			_ = p.note(publication{kind: pubSettled, at: p.clock.now(), losses: uint32(losses)})
		}
		tell(report{At: at, Acked: p.acked.Load(), Failed: p.failed.Load(), LastAck: instant(p.lastAck.Load()),
			Settled: quiet >= 3, Losses: losses})
	}
}
