package follow

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// atOnce bounds the messages taken between two looks at all else; BenchmarkApply shows
// what one takes.
const atOnce = 256

// A chunk is what a follower takes at once. It belongs to the follower's goroutine.
type chunk struct {
	messages []*nats.Msg
	received replica.Received // the event read last
	marks    []mark           // of events that were handed to the feed, and count once it has flushed
	behind   bool             // more of the log stood behind one of them
}

// take takes m, which came now, and of those that wait behind it as many as go at once:
// to look at five channels, the clocks and the connection for each is work, too.
// It tells whether there was a record, and a heartbeat, among them, or what kind the
// last was if that failed.
func (f *Follower) take(now revoke.Instant, s *subscription, m *nats.Msg) (record, beat bool, err error) {
	c := append(f.chunk.messages[:0], m)
	for n := min(len(s.msgs), atOnce-1); n > 0; n-- {
		c = append(c, <-s.msgs)
	}
	f.chunk.messages = c
	defer clear(c)
	if len(c) > 1 {
		now = revoke.Now() // after all of them came: how far apart the clocks are is taken from it
	}
	// A reconnect goes unannounced; what it lost, no chain of an old consumer tells. Until
	// here it is not known to have been, so all of them came before.
	if f.moved(s.epoch) {
		return false, false, transport.ErrDisconnected
	}
	defer f.flush(now)
	for _, m := range c {
		if !isRecord(m) {
			if err := s.status(m); err != nil {
				return false, beat, err
			}
			f.beater.behind = f.beater.behind && !isIdle(m)
			continue
		}
		record = true
		b, err := f.apply(now, s, m)
		if beat = beat || b; err != nil {
			return true, beat, err
		}
	}
	return record, beat, nil
}

// flush has the events count that were handed to the feed, and tells of them.
func (f *Follower) flush(now revoke.Instant) {
	f.feed.Flush()
	c := &f.chunk
	if len(c.marks) == 0 {
		return
	}
	f.announcer.note(c.marks...)
	f.last = now
	f.sequence.Store(c.marks[len(c.marks)-1].sequence)
	if c.behind {
		f.escalation.advance(now) // its heartbeats are still to come
	}
	clear(c.marks) // the announcer holds as many of them as it wants to
	c.marks, c.behind = c.marks[:0], false
}

// apply hands one record to the feed and tells whether it was a heartbeat. An event
// counts at the next flush, at the latest before what is no event.
func (f *Follower) apply(now revoke.Instant, s *subscription, m *nats.Msg) (beat bool, err error) {
	r, err := s.record(m)
	if err != nil {
		return false, err
	}
	f.beater.behind = s.behind
	if f.decoder.Plain(m.Subject, m.Data, &f.chunk.received) && (f.cfg.Trust == nil || !f.chunk.received.Kind().Mass()) {
		return false, f.gather(now, s, &r)
	}
	msg, fault := f.decoder.Decode(m.Subject, m.Data)
	if fault == revoke.FaultCritical && r.Time.After(f.critical) && (f.cfg.Trust == nil || isSigned(m)) {
		f.critical = r.Time
	}
	switch {
	case fault == revoke.FaultCritical && !f.heeds(m.Subject):
		fault = msg.Instead
	case fault == revoke.FaultCritical && f.cfg.Trust != nil && !f.cfg.Trust.Verifies(m):
		fault, msg.Member = revoke.FaultUnsigned, ""
	case fault == 0 && !msg.Beat && !f.cfg.Trust.Accepts(m, &msg.Event):
		fault, msg.Member = revoke.FaultUnsigned, f.cfg.Trust.Lacks(&msg.Event)
		if msg.Member == "" && isSigned(m) {
			f.passed(r.Time, &msg.Event)
		}
	}
	if fault == 0 && !msg.Beat {
		f.chunk.received = msg.Received
		return false, f.gather(now, s, &r)
	}
	f.flush(now)
	if fault != 0 {
		err = f.feed.Fault(now, r, fault, msg.Member)
	} else {
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
	}
	if err != nil {
		return false, fmt.Errorf("bus: %w", err)
	}
	if !msg.Beat {
		f.announcer.note(ignoredMark(&r))
	}
	f.last = now
	f.sequence.Store(r.Sequence)
	if msg.Beat {
		f.recovered(&msg.Heartbeat, now)
		f.cutAt(now, &r, msg.Heartbeat.Nonce)
	} else {
		f.recovered(nil, now)
	}
	return msg.Beat, nil
}

// gather hands the event in f.chunk to the feed.
func (f *Follower) gather(now revoke.Instant, s *subscription, r *replica.Record) error {
	if err := f.feed.Gather(now, r, &f.chunk.received); err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	f.chunk.marks = append(f.chunk.marks, appliedMark(r))
	f.chunk.behind = f.chunk.behind || s.behind
	return nil
}

// heeds reports whether events on that subject may make the List stale: those of
// the issuers whose tokens it judges, where it knows them. Who may publish for
// another issuer must not stop this one's services.
func (f *Follower) heeds(subject string) bool {
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
