package follow

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// run is the follower's goroutine, the only one that touches the feed.
func (f *Follower) run() {
	var announcing sync.WaitGroup
	announcing.Go(func() { f.announcer.run(f.ctx) })
	defer announcing.Wait()
	defer f.changes.Stop()
	var keeping sync.WaitGroup
	keeping.Go(f.keepState)
	keeping.Go(f.inspect)
	defer func() {
		f.feed.Broken(revoke.Now(), revoke.ReasonClosed)
		f.note(func(r *report) { r.connected, r.server = false, "" })
		keeping.Wait()
		_ = f.list.SaveState(revoke.Now()) // what came last; List.StateFile reports
		f.feed.Close(revoke.Now())         // from now on the file may be another List's
	}()
	failures := 0
	for f.ctx.Err() == nil {
		renewed := f.t.Conn.Renewed.Wait()
		switch {
		case f.t.Conn.Over():
			f.end(revoke.ReasonClosed, f.t.Conn.Ended(), slog.LevelError)
			close(f.dead)
			<-f.ctx.Done()
			return
		case !f.t.Conn.IsConnected():
			reason := revoke.ReasonDisconnected
			if !f.ever {
				reason = revoke.ReasonConnecting
			}
			f.end(reason, f.t.Conn.Disconnected(), slog.LevelWarn)
			select {
			case <-f.changes.Changes():
			case <-renewed:
			case <-time.After(time.Second): // the client library drops events rather than wait
			case <-f.ctx.Done():
			}
			f.escalation.restart(revoke.Now())
			continue
		}
		f.ever = true
		if f.astray() {
			continue
		}
		began := revoke.Now()
		reason, err := f.follow(began)
		if f.ctx.Err() != nil {
			break
		}
		if !f.t.Conn.IsConnected() {
			reason = revoke.ReasonDisconnected
		}
		// The connection spaces its attempts itself; all else has to work for a while.
		worked := f.report.Load().err == nil
		if worked && reason == revoke.ReasonDisconnected || mono(began, revoke.Now()) >= maxPause {
			failures = 0
		}
		f.end(reason, err, slog.LevelWarn)
		switch now := revoke.Now(); {
		case reason == revoke.ReasonDisconnected, reason == revoke.ReasonNoStream, reason == revoke.ReasonNotPermitted:
			f.escalation.restart(now) // which no other server mends
		case f.escalation.in(now) <= 0:
			f.climb(now)
		}
		// Even after the first failure of a long time some jitter keeps many followers of one
		// server apart.
		_ = pause.Wait(f.ctx, pause.Backoff(firstPause, maxPause, failures))
		failures++
	}
	close(f.dead)
}

var (
	errSilence  = errors.New("bus: the server sends not even idle heartbeats")
	errNoAnchor = errors.New("bus: no record within the time for the anchor")
)

// follow lives through one subscription and returns why it ended.
func (f *Follower) follow(now revoke.Instant) (revoke.Reason, error) {
	epoch, before := f.reconnects(), f.t.NATS().LastError()
	if server := f.t.Conn.State().Server; server != f.report.Load().server || server == "" {
		f.note(func(r *report) { r.connected, r.server = true, server })
	}
	f.beater.denied = false // perhaps no longer
	var info replica.LogInfo
	var hazards []string
	err := f.connected(before, func(ctx context.Context) (err error) {
		info, hazards, err = f.t.Info(ctx)
		return err
	})
	if err != nil {
		return f.reason(err, before), err
	}
	f.hazards(hazards)
	if mirror := info.Mirror; mirror != f.report.Load().mirror {
		f.note(func(r *report) { r.mirror = mirror })
	}
	if f.cfg.Load != nil && !f.loaded {
		if err := f.load(epoch, before); err != nil {
			return revoke.ReasonDisconnected, err
		}
		before = f.t.NATS().LastError() // what is refused on the way there, following does not need
	}
	at := f.feed.Begin(now, info)
	if !at.Anchored && f.resuming != 0 {
		f.startedWithout(errOtherLog)
	}
	f.begun.Add(1)
	f.old = info.LastSequence
	f.beater.first = revoke.Instant{} // what may have been lost with the last subscription does not come back
	if !at.Anchored {
		f.beater.behind = info.LastSequence > 0
	}
	if !at.Anchored && !f.last.IsZero() {
		// The log is not the one that was: it may have lost more than we noticed.
		f.cfg.Suspect(f.last)
		f.last = revoke.Instant{}
	}
	f.changed.Wake()
	f.tidy()
	var s *subscription
	err = f.connected(before, func(ctx context.Context) (err error) {
		s, err = subscribe(ctx, f.t, at, f.idle, epoch, max(pullMessages>>min(f.silences, 8), leastPull))
		return err
	})
	defer func() { f.leave(s) }()
	defer f.second.end()
	if err != nil {
		return f.reason(err, before), err
	}
	if f.moved(epoch) || !f.t.Conn.IsConnected() {
		return revoke.ReasonDisconnected, transport.ErrDisconnected
	}

	now = revoke.Now()
	anchored := !at.Anchored
	heard := now             // anything from the server
	var spoke revoke.Instant // when the server first said anything of this subscription
	due := now.Add(f.beater.in(now))
	timer := time.NewTimer(mono(now, due))
	defer timer.Stop()
	again := func(now revoke.Instant) {
		d := min(f.beater.in(now), f.idle)
		due = now.Add(d)
		timer.Reset(d)
	}
	for {
		select {
		case m := <-s.msgs:
			now = revoke.Now()
			heard = now
			if spoke.IsZero() {
				spoke = now
			}
			f.left = f.left[:0]
			record, beat, err := f.take(now, s, m)
			if record {
				f.resumed(err)
			}
			switch {
			case err == transport.ErrDisconnected:
				return revoke.ReasonDisconnected, err
			case err != nil && record:
				return revoke.ReasonRebuilding, err
			case err != nil:
				return f.reason(err, before), err
			}
			anchored = anchored || record
			if beat {
				f.doubt(now, epoch)
				if err := f.settle(now); err != nil {
					return revoke.ReasonFork, err
				}
				again(revoke.Now())
			}
		case <-timer.C:
			now = revoke.Now()
			// For so long it was this process that stood still, and not the server; what
			// has come meanwhile is still to be read.
			heard, spoke = excuse(heard, due, now), excuse(spoke, due, now)
			if len(s.msgs) == 0 {
				switch {
				case mono(heard, now) > f.silenceLimit(now):
					f.silences++
					return revoke.ReasonNoHeartbeat, errSilence
				case !anchored && !spoke.IsZero() && mono(spoke, now) > replica.AnchorTimeout:
					return revoke.ReasonRebuilding, errNoAnchor
				case f.escalation.in(now) <= 0 && !f.reading(now):
					return revoke.ReasonNoHeartbeat, errNoBeats
				}
			}
			f.feed.Tick(now)
			again(now)
		case r := <-f.readings:
			f.judge(revoke.Now(), r)
		case d, ok := <-f.second.done:
			f.second.read(d, ok)
		case f.beater.cut = <-f.cuts:
			f.beater.asked = true
			again(revoke.Now())
		case <-f.beater.wanted:
			f.beater.asked = true
			again(revoke.Now())
		case <-f.changes.Changes():
			if f.moved(epoch) || !f.t.Conn.IsConnected() {
				return revoke.ReasonDisconnected, transport.ErrDisconnected
			}
		case <-f.ctx.Done():
			return revoke.ReasonClosed, f.ctx.Err()
		}
	}
}

// refusalLook is how often who waits for an answer looks whether the server has refused to
// give one.
const refusalLook = 50 * time.Millisecond

var errRefused = errors.New("refused")

// connected makes a call whose context ends with the connection, over the next of which no
// answer comes, and at a refusal, which before was the connection's last error before.
func (f *Follower) connected(before error, call func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		look := time.NewTicker(refusalLook)
		defer look.Stop()
		for {
			select {
			case <-f.changes.Changes():
				if !f.t.Conn.IsConnected() {
					cancel(transport.ErrDisconnected)
				}
			case <-look.C: // what a server refuses it does not answer
				if f.t.Conn.IsConnected() && isRefusal(f.t.NATS().LastError(), before) {
					cancel(errRefused)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	err := call(ctx)
	cancel(nil)
	wg.Wait()
	switch cause := context.Cause(ctx); {
	case err != nil && cause == transport.ErrDisconnected:
		return cause
	case err != nil && cause == errRefused:
		return f.t.NATS().LastError()
	}
	return err
}

// moved reports whether the connection is another than it was.
func (f *Follower) moved(epoch uint64) bool { return f.reconnects() != epoch }

const (
	firstPause = 100 * time.Millisecond
	// maxPause bounds the pause between two attempts; a stream that appears is found
	// within it.
	maxPause = 5 * time.Second
)
