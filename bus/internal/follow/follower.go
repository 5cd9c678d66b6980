package follow

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/snapshot"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Follower keeps one [revoke.List] in step with the stream, and never gives up while it
// is open; see [Member].
type Follower struct {
	t    *transport.Transport
	cfg  Config
	list *revoke.List
	idle time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // the goroutine has ended
	dead   chan struct{} // nothing will ever be applied again

	reconnects func() uint64 // another number after each reconnect
	announcer  announcer

	// The goroutine's own.
	decoder    wire.Decoder
	chunk      chunk
	feed       *replica.Feed
	beater     beater
	changes    *transport.Listener // of the connection
	ever       bool                // connected at least once
	last       revoke.Instant      // when a record was last applied or matched; zero: the log will be replayed
	said       string              // the reason logged last; empty while records arrive
	told       bool                // with a cause, which is known a moment later than the reason
	escalation escalation
	left       []string // consumers that the server may not know to be left

	expected []string            // the List's issuers when heeded was made of them
	heeded   map[string]struct{} // what subjects of their events begin with

	old      uint64 // the log's last sequence before the subscription began
	silences int    // subscriptions that ended because the server said nothing, since a heartbeat was applied

	fled    string // id of the server that the connection was moved away from; empty: it got away
	flights int    // how often that was tried again

	readings chan reading // the stream's settings, read again; see inspect

	loaded   bool      // a snapshot was looked for
	resuming uint64    // at which sequence the first subscription goes on, until that is known to be right; 0: at none
	critical time.Time // of the last event marked critical that was not understood; zero: none was
	passedBy time.Time // until when an event counts elsewhere whose signature does not count here; zero: there was none
	cuts     chan *cut // taken while a subscription lives

	changed  transport.Signal
	sequence atomic.Uint64
	second   second
	begun    atomic.Uint64
	moves    atomic.Uint64
	report   atomic.Pointer[report]

	beginning atomic.Pointer[Beginning]
}

// A Config says how to follow.
type Config struct {
	Name            string // in heartbeats and answers; at most 128 bytes
	NoHeartbeats    bool   // sends none
	NoAnnouncements bool   // does not answer roll calls
	Signer          *wire.Signer
	Trust           wire.Trust

	// Load fills the List from a snapshot and says at which place in the log that goes on. It
	// is called before anything is read, in the follower's goroutine; ctx ends with the
	// connection. Nil: the log is read from its start.
	Load func(ctx context.Context) (*snapshot.Log, error)

	// Suspect is told when the log has turned out to be another than the one applied so
	// far, and when a record of that one was last applied.
	Suspect func(last revoke.Instant)
}

// Start starts to follow the stream into the list and returns at once.
func Start(t *transport.Transport, list *revoke.List, cfg Config) (*Follower, error) {
	leave, err := t.Enter()
	if err != nil {
		return nil, err
	}
	feed, err := replica.NewFeed(list)
	if err != nil {
		leave()
		return nil, err
	}
	f := &Follower{
		t: t, cfg: cfg, list: list, feed: feed,
		idle:       min(max(list.Config().MaxStaleness/5, 100*time.Millisecond), time.Second),
		done:       make(chan struct{}),
		dead:       make(chan struct{}),
		readings:   make(chan reading, 1),
		cuts:       make(chan *cut),
		changes:    t.Conn.Listen(),
		reconnects: t.Conn.Epoch,
	}
	f.beater = beater{t: t, cfg: &f.cfg, feed: feed, list: list, interval: list.Config().HeartbeatInterval, wanted: make(chan struct{}, 1), applied: &f.sequence}
	if !cfg.NoHeartbeats && (cfg.Trust == nil || cfg.Signer != nil) {
		feed.Attest()
	}
	f.escalation = newEscalation(list.Config(), f.idle)
	feed.LogTo(t.Log)
	f.announcer.init(t, &f.cfg, list)
	f.said = revoke.ReasonConnecting.String()
	f.ctx, f.cancel = context.WithCancel(t.Context)
	f.report.Store(&report{})
	f.beginning.Store(&Beginning{})
	feed.Broken(revoke.Now(), revoke.ReasonConnecting)
	go func() {
		defer leave()
		defer close(f.done)
		f.run()
	}()
	return f, nil
}

// Close ends the follower, has the List's state file written, if it has one, and waits
// for both.
func (f *Follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}

func (f *Follower) WaitFresh(ctx context.Context) error {
	return f.await(ctx, "wait until fresh", func(s revoke.Status) bool { return s.State == revoke.StateFresh })
}

func (f *Follower) Barrier(ctx context.Context) error {
	begun := revoke.Now()
	for revoke.Now().Mono == begun.Mono { // on a coarse clock: a heartbeat sent before must not seem to be sent after
		time.Sleep(time.Microsecond)
	}
	f.beater.barriers.Add(1)
	defer f.beater.barriers.Add(-1)
	f.beater.want()
	return f.await(ctx, "barrier", func(s revoke.Status) bool { return s.Proven.Mono > begun.Mono })
}

// await waits until ok, which sees every change.
func (f *Follower) await(ctx context.Context, what string, ok func(revoke.Status) bool) error {
	for {
		changed := f.changed.Wait()
		select {
		case <-f.dead:
			return fmt.Errorf("bus: %s: member %w", what, transport.ErrClosed)
		default:
		}
		s := f.list.Status(revoke.Now())
		if ok(s) {
			return nil
		}
		select {
		case <-changed:
		case <-f.dead:
		case <-ctx.Done():
			stale := fmt.Errorf("bus: %s: %w: %w", what, context.Cause(ctx), &revoke.StaleError{State: s.State, Reason: s.Reason, Age: s.Age})
			if err := f.report.Load().err; err != nil {
				return fmt.Errorf("%w: %v", stale, err) // for people: its families are not ours
			}
			return stale
		}
	}
}
