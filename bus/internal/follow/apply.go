package follow

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// atOnce bounds the messages taken between two looks at all else; BenchmarkApply shows
// what one takes.
const atOnce = 64

// take takes m, which came now, and of those that wait behind it as many as go at once:
// to look at five channels for each is work, too.
// It tells whether there was a record, and a heartbeat, among them, or what kind the
// last was if that failed.
func (f *Follower) take(now revoke.Instant, s *subscription, m *nats.Msg) (record, beat bool, err error) {
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

// apply hands one record to the feed and tells whether it was a heartbeat.
func (f *Follower) apply(now revoke.Instant, s *subscription, m *nats.Msg) (beat bool, err error) {
	// A reconnect goes unannounced; what it lost, no chain of an old consumer tells.
	if f.moved(s.epoch) {
		return false, transport.ErrDisconnected
	}
	r, err := s.record(m)
	if err != nil {
		return false, err
	}
	msg, fault := f.decoder.Decode(m.Subject, m.Data)
	if fault == revoke.FaultCritical && r.Time.After(f.critical) && (f.cfg.Trust == nil || f.cfg.Trust.Verifies(m)) {
		f.critical = r.Time
	}
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
		f.cutAt(now, &r, msg.Heartbeat.Nonce)
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
