package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// run is the follower's goroutine, the only one that touches the feed.
func (f *follower) run() {
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
		case !f.t.NATS().IsConnected():
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
		if !f.t.NATS().IsConnected() {
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
func (f *follower) follow(now revoke.Instant) (revoke.Reason, error) {
	epoch, before := f.reconnects(), f.t.NATS().LastError()
	if server := transport.ServerOf(f.t.NATS()); server != f.report.Load().server || server == "" {
		f.note(func(r *report) { r.connected, r.server = true, server })
	}
	f.beater.denied = false // perhaps no longer
	var info replica.LogInfo
	var hazards []string
	err := f.connected(func(ctx context.Context) (err error) {
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
	at := f.feed.Begin(now, info)
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
	err = f.connected(func(ctx context.Context) (err error) {
		s, err = subscribe(ctx, f.t, at, f.idle, epoch, max(pullMessages>>min(f.silences, 8), leastPull))
		return err
	})
	defer func() { f.leave(s) }()
	defer f.second.end()
	if err != nil {
		return f.reason(err, before), err
	}
	if f.moved(epoch) || !f.t.NATS().IsConnected() {
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
		case <-f.beater.wanted:
			f.beater.asked = true
			again(revoke.Now())
		case <-f.changes.Changes():
			if f.moved(epoch) || !f.t.NATS().IsConnected() {
				return revoke.ReasonDisconnected, transport.ErrDisconnected
			}
		case <-f.ctx.Done():
			return revoke.ReasonClosed, f.ctx.Err()
		}
	}
}

// atOnce bounds the messages taken between two looks at all else; BenchmarkApply shows
// what one takes.
const atOnce = 64

// take takes m, which came now, and of those that wait behind it as many as go at once:
// to look at five channels for each is work, too.
// It tells whether there was a record, and a heartbeat, among them, or what kind the
// last was if that failed.
func (f *follower) take(now revoke.Instant, s *subscription, m *nats.Msg) (record, beat bool, err error) {
	for n := 0; ; n++ {
		if !isRecord(m) {
			if err := s.status(m); err != nil {
				return false, beat, err
			}
			f.beater.behind = f.beater.behind && !isIdle(m)
		} else {
			if n > 0 {
				now = revoke.Now() // after it came: how far apart the clocks are is taken from it
			}
			b, err := f.apply(now, s, m)
			record, beat = true, beat || b
			if err != nil {
				return true, beat, err
			}
		}
		if n == atOnce {
			return record, beat, nil
		}
		select {
		case m = <-s.msgs:
		default:
			return record, beat, nil
		}
	}
}

// reading reports whether the replica is not fresh because it reads the log and has not
// come to its end. It has nothing to lose then by being patient, and with a server that
// many followers keep busy much to gain.
func (f *follower) reading(now revoke.Instant) bool {
	return f.beater.behind && f.list.Status(now).State != revoke.StateFresh
}

// excuse returns since when to wait instead of since, now that a timer due before has
// fired: by how much it was late does not count. Zero stays zero.
func excuse(since, due, now revoke.Instant) revoke.Instant {
	late := mono(due, now)
	if since.IsZero() || late <= 0 {
		return since
	}
	return since.Add(min(late, mono(since, now)))
}

// silenceLimit is how long a server that is to say every idle interval that it is there
// may say nothing. All deliveries of a stream wait in one line at the server, those for
// hundreds of others before ours. So it is longer where an own heartbeat has taken long
// to come through that line, up to when the escalation may be climbed, and for who reads the
// log. It doubles with each
// subscription that ended so since a heartbeat was last applied: a server that many
// followers have made slow is not mended by all of them beginning again. What one that
// ended had asked for stands before what the next asks for, so each asks for less.
func (f *follower) silenceLimit(now revoke.Instant) time.Duration {
	limit := max(3*f.idle, min(3*f.beater.round, f.list.Config().MaxStaleness/2))
	if f.reading(now) {
		limit *= 4
	}
	return max(limit, min(limit<<min(f.silences, 8), 4*f.list.Config().MaxStaleness))
}

// connected makes a call whose context ends with the connection: no answer comes
// over the next.
func (f *follower) connected(call func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(f.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-f.changes.Changes():
				if !f.t.NATS().IsConnected() {
					cancel(transport.ErrDisconnected)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	err := call(ctx)
	cancel(nil)
	wg.Wait()
	if err != nil && context.Cause(ctx) == transport.ErrDisconnected {
		return transport.ErrDisconnected
	}
	return err
}

// moved reports whether the connection is another than it was.
func (f *follower) moved(epoch uint64) bool { return f.reconnects() != epoch }

// apply hands one record to the feed and tells whether it was a heartbeat.
func (f *follower) apply(now revoke.Instant, s *subscription, m *nats.Msg) (beat bool, err error) {
	// A reconnect goes unannounced; what it lost, no chain of an old consumer tells.
	if f.moved(s.epoch) {
		return false, transport.ErrDisconnected
	}
	r, err := s.record(m)
	if err != nil {
		return false, err
	}
	msg, fault := f.decoder.Decode(m.Subject, m.Data)
	switch {
	case fault == revoke.FaultCritical && !f.heeds(m.Subject):
		fault = msg.Instead
	case fault == revoke.FaultCritical && f.cfg.Trust != nil && !f.cfg.Trust.Verifies(m):
		fault, msg.Member = revoke.FaultUnsigned, ""
	case fault == 0 && !msg.Beat && !f.cfg.Trust.Accepts(m, &msg.Event):
		fault, msg.Member = revoke.FaultUnsigned, f.cfg.Trust.Lacks(&msg.Event)
	}
	switch {
	case fault != 0:
		err = f.feed.Fault(now, r, fault, msg.Member)
	case msg.Beat:
		if f.cfg.Trust != nil && msg.Heartbeat.Digest != nil && !f.cfg.Trust.Verifies(m) {
			msg.Heartbeat.Digest = nil // who may beat may not say what the log holds
		}
		f.beater.heard(now, msg.Heartbeat)
		if r.Sequence > f.old { // one that stood there before, nobody has sent now
			f.escalation.heard(now)
			f.silences = 0
		} else if s.behind {
			f.escalation.advance(now)
		}
		err = f.feed.Heartbeat(now, r, msg.Heartbeat)
	default:
		err = f.feed.Received(now, r, &msg.Received)
	}
	if err != nil {
		return false, fmt.Errorf("bus: %w", err)
	}
	if !msg.Beat {
		f.announcer.note(r, fault == 0)
	}
	f.last = now
	f.sequence.Store(r.Sequence)
	switch {
	case msg.Beat:
		f.recovered(&msg.Heartbeat, now)
	case fault != 0:
		f.recovered(nil, now)
	case s.behind:
		f.escalation.advance(now) // its heartbeats are still to come
	}
	f.beater.behind = s.behind
	return msg.Beat, nil
}

// heeds reports whether events on that subject may make the List stale: those of
// the issuers whose tokens it judges, where it knows them. Who may publish for
// another issuer must not stop this one's services.
func (f *follower) heeds(subject string) bool {
	issuers := f.list.ExpectedIssuers()
	if len(issuers) == 0 {
		return true
	}
	if !slices.Equal(issuers, f.expected) { // hashed once, not for each such event
		f.expected, f.heeded = issuers, make(map[string]struct{}, len(issuers))
		for _, iss := range issuers {
			f.heeded[wire.IssuerPrefix(iss)] = struct{}{}
		}
	}
	_, ok := f.heeded[wire.PrefixOf(subject)]
	return ok
}

// end takes note of why there is no subscription, and logs it if that is news.
func (f *follower) end(reason revoke.Reason, err error, level slog.Level) {
	f.feed.Broken(revoke.Now(), reason)
	server := transport.ServerOf(f.t.NATS())
	f.note(func(r *report) { r.connected, r.server, r.err = server != "", server, err })
	said := reason.String()
	if known := err != transport.ErrDisconnected; said != f.said || known && !f.told {
		f.told = known || said == f.said && f.told
		f.said = said
		f.t.Log.Log(context.Background(), level, "bus: not following", "reason", said, "error", err)
	}
}

// recovered takes note that records arrive, and of a heartbeat.
func (f *follower) recovered(hb *replica.Heartbeat, now revoke.Instant) {
	f.note(func(r *report) {
		r.err = nil
		if hb != nil {
			r.beater, r.beat = wire.Printable(hb.Name), now
		}
	})
	if f.said != "" {
		f.said = ""
		f.t.Log.Info("bus: following", "stream", f.t.StreamName)
	}
}

// note replaces the report by a changed copy, and wakes who waits for that.
func (f *follower) note(change func(*report)) {
	r := *f.report.Load()
	change(&r)
	f.report.Store(&r)
	f.changed.Wake()
}

// reason finds the word for a failure of an attempt, before which the connection's
// last error was before.
func (f *follower) reason(err, before error) revoke.Reason {
	last := f.t.NATS().LastError()
	switch {
	case errors.Is(err, ErrNoStream), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return revoke.ReasonNoStream
	case errors.Is(err, ErrClosed):
		return revoke.ReasonClosed
	case errors.Is(err, transport.ErrDisconnected):
		return revoke.ReasonDisconnected
	case last != before && errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), jetstream.DefaultAPIPrefix):
		return revoke.ReasonNotPermitted
	case errors.Is(err, errEnded):
		return revoke.ReasonRebuilding
	}
	return revoke.ReasonNoHeartbeat
}

const (
	firstPause = 100 * time.Millisecond
	// maxPause bounds the pause between two attempts; a stream that appears is found
	// within it.
	maxPause = 5 * time.Second
)
