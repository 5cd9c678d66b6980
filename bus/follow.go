package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Follower keeps one [revoke.List] in step with the stream. It never gives up
// while it is open: whatever fails is tried again, with jitter, at least every 5 s.
// It is safe for concurrent use.
type Follower struct {
	b    *Bus
	list *revoke.List
	idle time.Duration

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // the goroutine has ended
	dead   chan struct{} // nothing will ever be applied again

	// The goroutine's own.
	feed   *revoke.Feed
	heart  heart
	events chan nats.Status // of the connection
	ever   bool             // connected at least once
	said   string           // the reason logged last; empty while records arrive

	changed  signal
	sequence atomic.Uint64
	begun    atomic.Uint64
	report   atomic.Pointer[report]
}

// A report is what the goroutine last said about its subscription; immutable.
type report struct {
	hazards []string
	err     error
}

// Follow starts to follow the stream and returns at once; list is then syncing.
// [Follower.WaitFresh] waits until it is fresh. ctx governs only the call. The
// caller closes the Follower; closing the Bus does so too.
//
// A missing stream, a missing server or missing rights are no errors: the
// Follower waits, and [Follower.Status] and the List say for what. It fails with
// [revoke.ErrFollowed] if list is fed already or is Local, and with [ErrClosed].
//
// Unless [Config].NoHeartbeats is set, the Follower also sends heartbeats, which
// others profit from, whenever it has seen none for one to two of list's
// HeartbeatIntervals.
func (b *Bus) Follow(ctx context.Context, list *revoke.List) (*Follower, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("bus: follow: %w", err)
	}
	if list == nil {
		return nil, errors.New("bus: follow: nil List")
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
		idle:   min(max(list.Config().MaxStaleness/5, 100*time.Millisecond), time.Second),
		done:   make(chan struct{}),
		dead:   make(chan struct{}),
		events: b.nc.StatusChanged(),
		heart:  heart{b: b, feed: feed, interval: list.Config().HeartbeatInterval, wanted: make(chan struct{}, 1)},
	}
	f.said = revoke.ReasonConnecting.String()
	f.ctx, f.cancel = context.WithCancel(b.ctx)
	f.report.Store(&report{})
	feed.Broken(revoke.Now(), revoke.ReasonConnecting)
	go func() {
		defer leave()
		defer close(f.done)
		f.run()
	}()
	return f, nil
}

// Close ends the Follower and waits for it. What list knows stays known, but from
// now on nothing proves it current. It may be called more than once.
func (f *Follower) Close() error {
	f.cancel()
	<-f.done
	return nil
}

// WaitFresh returns nil when the List is fresh. The error is in the families of
// ctx's and [revoke.ErrStale], and says why the List is not fresh, or [ErrClosed].
func (f *Follower) WaitFresh(ctx context.Context) error {
	return f.await(ctx, "wait until fresh", func(s revoke.Status) bool { return s.State == revoke.Fresh })
}

// Barrier returns nil when every event that anybody's Publish had acknowledged
// before the call is applied to the List. It sends a heartbeat of its own at once
// and waits until it comes back through the stream; calls within 10 ms share one.
// With [Config].NoHeartbeats it has to wait until another member's heartbeat proves
// as much, a few intervals and MaxSkew later. Errors are those of
// [Follower.WaitFresh].
func (f *Follower) Barrier(ctx context.Context) error {
	begun := revoke.Now()
	f.heart.barriers.Add(1)
	defer f.heart.barriers.Add(-1)
	f.heart.want()
	return f.await(ctx, "barrier", func(s revoke.Status) bool { return s.Proven.Mono >= begun.Mono })
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

// FollowerStatus is what a [Follower] knows at one moment. What was applied and
// refused is counted by [revoke.List.Stats].
type FollowerStatus struct {
	revoke.Status

	Connected     bool     // to a server
	Server        string   // its URL, without credentials; empty while not connected
	Sequence      uint64   // place in the stream of the record applied last; 0: none
	Subscriptions uint64   // begun so far; more than one means that something broke
	Hazards       []string // why the stream could forget events; see [ErrStreamUnsafe]
	Sent          uint64   // own heartbeats
	Returned      uint64   // of those, how many came back while they were the newest
	Err           error    // what ended the last subscription or attempt; nil while records arrive
}

// Status returns the present status.
func (f *Follower) Status() FollowerStatus {
	r := f.report.Load()
	s := FollowerStatus{
		Status:        f.list.Status(revoke.Now()),
		Connected:     f.b.nc.IsConnected(),
		Sequence:      f.sequence.Load(),
		Subscriptions: f.begun.Load(),
		Hazards:       slices.Clone(r.hazards),
		Sent:          f.heart.sent.Load(),
		Returned:      f.heart.returned.Load(),
		Err:           r.err,
	}
	if s.Connected {
		s.Server = f.b.nc.ConnectedUrlRedacted()
	}
	return s
}

// run is the follower's goroutine, the only one that touches the feed.
func (f *Follower) run() {
	defer f.b.nc.RemoveStatusListener(f.events)
	defer func() { f.feed.Close(revoke.Now()) }()
	failures := 0
	for f.ctx.Err() == nil {
		switch {
		case f.b.nc.IsClosed():
			f.end(revoke.ReasonClosed, fmt.Errorf("bus: connection %w", ErrClosed), slog.LevelError)
			close(f.dead)
			<-f.ctx.Done()
			return
		case !f.b.nc.IsConnected():
			reason := revoke.ReasonDisconnected
			if !f.ever {
				reason = revoke.ReasonConnecting
			}
			f.end(reason, errDisconnected, slog.LevelWarn)
			select {
			case <-f.events:
			case <-time.After(time.Second): // the client library drops events rather than wait
			case <-f.ctx.Done():
			}
			continue
		}
		f.ever = true
		began := revoke.Now()
		reason, err := f.follow(began)
		if f.ctx.Err() != nil {
			break
		}
		if !f.b.nc.IsConnected() {
			reason = revoke.ReasonDisconnected
		}
		// The connection spaces its attempts itself; all else has to work for a while.
		worked := f.report.Load().err == nil
		if worked && reason == revoke.ReasonDisconnected || mono(began, revoke.Now()) >= maxPause {
			failures = 0
		}
		f.end(reason, err, slog.LevelWarn)
		f.pause(pauseAfter(failures))
		failures++
	}
	close(f.dead)
}

var (
	errDisconnected = errors.New("bus: not connected")
	errSilence      = errors.New("bus: the server sends not even idle heartbeats")
	errNoAnchor     = errors.New("bus: no record within the time for the anchor")
)

// follow lives through one subscription and returns why it ended.
func (f *Follower) follow(now revoke.Instant) (revoke.Reason, error) {
	epoch := f.b.nc.Stats().Reconnects
	var info revoke.LogInfo
	var hazards []string
	err := f.connected(func(ctx context.Context) (err error) {
		info, hazards, err = f.b.info(ctx)
		return err
	})
	if err != nil {
		return f.reason(err), err
	}
	f.hazards(hazards)
	at := f.feed.Begin(now, info)
	f.begun.Add(1)
	f.changed.wake()
	var s *subscription
	err = f.connected(func(ctx context.Context) (err error) {
		s, err = f.b.subscribe(ctx, at, f.idle)
		return err
	})
	if err != nil {
		return f.reason(err), err
	}
	defer s.close()
	if f.moved(epoch) || !f.b.nc.IsConnected() {
		return revoke.ReasonDisconnected, errDisconnected
	}

	now = revoke.Now()
	anchorBy := now.Add(revoke.AnchorTimeout)
	anchored := !at.Anchored
	heard := now // anything from the server
	timer := time.NewTimer(f.heart.in(now))
	defer timer.Stop()
	for {
		select {
		case m := <-s.msgs:
			now = revoke.Now()
			heard = now
			if !isRecord(m) {
				if err := s.status(m); err != nil {
					return f.reason(err), err
				}
				continue
			}
			// A reconnect goes unannounced; what it lost, no chain of an old consumer tells.
			if f.moved(epoch) {
				return revoke.ReasonDisconnected, errDisconnected
			}
			beat, err := f.apply(now, s, m)
			if err != nil {
				return revoke.ReasonRebuilding, err
			}
			anchored = true
			if beat {
				timer.Reset(min(f.heart.in(now), f.idle))
			}
		case <-timer.C:
			now = revoke.Now()
			if len(s.msgs) == 0 {
				switch {
				case mono(heard, now) > 3*f.idle:
					return revoke.ReasonNoHeartbeat, errSilence
				case !anchored && mono(anchorBy, now) > 0:
					return revoke.ReasonRebuilding, errNoAnchor
				}
			}
			timer.Reset(min(f.heart.in(now), f.idle))
		case <-f.heart.wanted:
			f.heart.asked = true
			timer.Reset(min(f.heart.in(revoke.Now()), f.idle))
		case <-f.events:
			if f.moved(epoch) || !f.b.nc.IsConnected() {
				return revoke.ReasonDisconnected, errDisconnected
			}
		case <-f.ctx.Done():
			return revoke.ReasonClosed, f.ctx.Err()
		}
	}
}

// connected makes a call whose context ends with the connection: no answer comes
// over the next.
func (f *Follower) connected(call func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-f.events:
				if !f.b.nc.IsConnected() {
					cancel(errDisconnected)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	err := call(ctx)
	cancel(nil)
	wg.Wait()
	if err != nil && context.Cause(ctx) == errDisconnected {
		return errDisconnected
	}
	return err
}

// moved reports whether the connection is another than it was.
func (f *Follower) moved(epoch uint64) bool { return f.b.nc.Stats().Reconnects != epoch }

// apply hands one record to the feed and tells whether it was a heartbeat.
func (f *Follower) apply(now revoke.Instant, s *subscription, m *nats.Msg) (beat bool, err error) {
	r, err := s.record(m)
	if err != nil {
		return false, err
	}
	msg, fault := decode(m.Subject, m.Data)
	switch {
	case fault != 0:
		err = f.feed.Fault(now, r, fault)
	case msg.beat:
		f.heart.heard(msg.heartbeat)
		err = f.feed.Heartbeat(now, r, msg.heartbeat)
	default:
		err = f.feed.Event(now, r, msg.event)
	}
	if err != nil {
		return false, fmt.Errorf("bus: %w", err)
	}
	f.sequence.Store(r.Sequence)
	if msg.beat || fault != 0 {
		f.recovered()
		f.changed.wake()
	}
	return msg.beat, nil
}

// end takes note of why there is no subscription, and logs it if that is news.
func (f *Follower) end(reason revoke.Reason, err error, level slog.Level) {
	f.feed.Broken(revoke.Now(), reason)
	f.report.Store(&report{hazards: f.report.Load().hazards, err: err})
	f.changed.wake()
	if said := reason.String(); said != f.said {
		f.said = said
		f.b.log.Log(context.Background(), level, "bus: not following", "reason", said, "error", err)
	}
}

// recovered takes note that records arrive.
func (f *Follower) recovered() {
	r := f.report.Load()
	if r.err == nil && f.said == "" {
		return
	}
	f.report.Store(&report{hazards: r.hazards})
	f.said = ""
	f.b.log.Info("bus: following", "stream", f.b.stream)
}

func (f *Follower) hazards(list []string) {
	r := f.report.Load()
	if slices.Equal(r.hazards, list) {
		return
	}
	f.report.Store(&report{hazards: list, err: r.err})
	if len(list) > 0 {
		f.b.log.Warn("bus: the stream could forget revocations", "stream", f.b.stream, "reasons", strings.Join(list, "; "))
	}
}

// reason finds the word for a failure.
func (f *Follower) reason(err error) revoke.Reason {
	last := f.b.nc.LastError()
	switch {
	case errors.Is(err, ErrNoStream), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return revoke.ReasonNoStream
	case errors.Is(err, ErrClosed):
		return revoke.ReasonClosed
	case errors.Is(err, errDisconnected):
		return revoke.ReasonDisconnected
	case errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), jetstream.DefaultAPIPrefix):
		return revoke.ReasonNotPermitted
	case errors.Is(err, errEnded):
		return revoke.ReasonRebuilding
	}
	return revoke.ReasonNoHeartbeat
}

// maxPause bounds the pause between two attempts; a stream that appears is found
// within it.
const maxPause = 5 * time.Second

// pauseAfter returns how long to wait after that many failures in a row. Even after the
// first of a long time some jitter keeps many followers of one server apart.
func pauseAfter(failures int) time.Duration {
	if failures == 0 {
		return rand.N(100 * time.Millisecond)
	}
	d := min(100*time.Millisecond<<min(failures, 10), maxPause)
	return d/2 + rand.N(d/2)
}

func (f *Follower) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.ctx.Done():
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
