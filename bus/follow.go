package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Follower keeps one [revoke.List] in step with the stream. It never gives up
// while it is open: whatever fails is tried again, with jitter, at least every 5 s.
// When the connection stands and no heartbeats arrive for half of the List's
// MaxStaleness, it moves to another server, then reads the log from its start, then
// goes on moving, ever more rarely, but at least every 6 minutes (or MaxStaleness,
// where that is longer). It is safe for concurrent use.
type Follower struct {
	b    *Bus
	list *revoke.List
	idle time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // the goroutine has ended
	dead   chan struct{} // nothing will ever be applied again

	reconnects func() uint64 // another number after each reconnect
	announcer  announcer

	// The goroutine's own.
	decoder decoder
	feed    *revoke.Feed
	heart   heart
	changes *listener      // of the connection
	ever    bool           // connected at least once
	last    revoke.Instant // when a record was last applied or matched; zero: the log will be replayed
	said    string         // the reason logged last; empty while records arrive
	told    bool           // with a cause, which is known a moment later than the reason
	ladder  ladder
	left    []string // consumers that the server may not know to be left

	expected []string            // the List's issuers when heeded was made of them
	heeded   map[string]struct{} // what subjects of their events begin with

	old      uint64 // the log's last sequence before the subscription began
	silences int    // subscriptions that ended because the server said nothing, since a heartbeat was applied

	fled    string // id of the server that the connection was moved away from; empty: it got away
	flights int    // how often that was tried again

	readings chan reading // the stream's settings, read again; see inspect

	changed  signal
	sequence atomic.Uint64
	second   second
	begun    atomic.Uint64
	moves    atomic.Uint64
	report   atomic.Pointer[report]
}

// Follow starts to follow the stream and returns at once; list is then syncing.
// [Follower.WaitFresh] waits until it is fresh. ctx governs only the call. The
// caller closes the Follower; closing the Bus does so too.
//
// A missing stream, a missing server or missing rights are no errors: the
// Follower waits, and [Follower.Status] and the List say for what. It fails with
// [revoke.ErrFollowed] if list is fed already or is Local, with [revoke.ErrStateFile] if
// its state file is or gets in the way of this Bus's outbox, and with [ErrClosed]. With
// another List's state file it follows, and does not write it: see [revoke.List.StateFile].
//
// Unless [Config].NoHeartbeats is set, the Follower also sends heartbeats, which
// others profit from, whenever it has seen none for one to two of list's
// HeartbeatIntervals.
func (b *Bus) Follow(ctx context.Context, list *revoke.List) (*Follower, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("bus: follow: %w", err)
	}
	if list == nil || list.Config().TokenLifetime == 0 {
		return nil, errors.New("bus: follow: no List of NewList's")
	}
	if state := list.Config().StateFile; state != "" && collide(state, b.cfg.OutboxFile) {
		return nil, fmt.Errorf("bus: follow: %w: %s would write over the outbox, %s", revoke.ErrStateFile, state, b.cfg.OutboxFile)
	}
	leave, err := b.enter()
	if err != nil {
		return nil, fmt.Errorf("bus: follow: %w", err)
	}
	feed, err := list.NewFeed()
	if err != nil {
		leave()
		return nil, fmt.Errorf("bus: follow: %w", err)
	}
	f := &Follower{
		b: b, list: list, feed: feed,
		idle:       min(max(list.Config().MaxStaleness/5, 100*time.Millisecond), time.Second),
		done:       make(chan struct{}),
		dead:       make(chan struct{}),
		readings:   make(chan reading, 1),
		changes:    b.conn.listen(),
		reconnects: b.conn.epoch,
		heart:      heart{b: b, feed: feed, list: list, interval: list.Config().HeartbeatInterval, wanted: make(chan struct{}, 1)},
	}
	if !b.cfg.NoHeartbeats && (b.trust == nil || b.signer != nil) {
		feed.Attest()
	}
	f.heart.applied = &f.sequence
	f.ladder = newLadder(list.Config(), f.idle)
	feed.LogTo(b.log)
	f.announcer.init(b, list)
	f.said = revoke.ReasonConnecting.String()
	f.ctx, f.cancel = context.WithCancel(b.ctx)
	f.report.Store(&report{})
	b.startWatch()
	feed.Broken(revoke.Now(), revoke.ReasonConnecting)
	go func() {
		defer leave()
		defer close(f.done)
		f.run()
	}()
	return f, nil
}

// Close ends the Follower, has the List's state file written, if it has one, and waits
// for both. What list knows stays known, but from now on nothing proves it current.
// It may be called more than once.
func (f *Follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}

// WaitFresh returns nil when the List is fresh. The error is in the families of
// ctx's and [revoke.ErrStale], and says why the List is not fresh, or [ErrClosed].
func (f *Follower) WaitFresh(ctx context.Context) error {
	return f.await(ctx, "wait until fresh", func(s revoke.Status) bool { return s.State == revoke.StateFresh })
}

// Barrier returns nil when every event that anybody's Publish had acknowledged
// before the call is applied to the List. It sends a heartbeat of its own at once
// and waits until it comes back through the stream; calls within 10 ms share one.
// With [Config].NoHeartbeats it has to wait until another member's heartbeat proves
// as much, a few intervals and MaxSkew later. Errors are those of
// [Follower.WaitFresh].
func (f *Follower) Barrier(ctx context.Context) error {
	begun := revoke.Now()
	for revoke.Now().Mono == begun.Mono { // on a coarse clock: a heartbeat sent before must not seem to be sent after
		time.Sleep(time.Microsecond)
	}
	f.heart.barriers.Add(1)
	defer f.heart.barriers.Add(-1)
	f.heart.want()
	return f.await(ctx, "barrier", func(s revoke.Status) bool { return s.Proven.Mono > begun.Mono })
}

// await waits until ok, which sees every change.
func (f *Follower) await(ctx context.Context, what string, ok func(revoke.Status) bool) error {
	for {
		changed := f.changed.wait()
		select {
		case <-f.dead:
			return fmt.Errorf("bus: %s: follower %w", what, ErrClosed)
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
			return fmt.Errorf("bus: %s: %w: %w", what, context.Cause(ctx), &revoke.StaleError{State: s.State, Reason: s.Reason, Age: s.Age})
		}
	}
}

// A signal wakes everyone who waits for a change.
type signal struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu: closed at the next change; nil: nobody waits
}

// wait returns a channel that is closed at the next change. Look at the state after
// wait returned, not before.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
