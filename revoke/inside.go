package revoke

import (
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/inside"
)

// hands are what this package does for package internal/replica alone, which says there
// what each is for: the feeds that keep a List in step, and tokens that are checked many
// times. What an argument points to would be allocated, as the caller goes through an
// interface: events and identities are passed by value.
type hands struct{}

func init() { inside.Revoke = hands{} }

func (hands) Follow(l *List) (generation uint64, err error) {
	if generation, err = l.follow(); err == nil {
		l.takeState()
	}
	return generation, err
}

func (l *List) follow() (generation uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.Local {
		return 0, fmt.Errorf("revoke: %w: it is Local", ErrFollowed)
	}
	if l.fed {
		return 0, fmt.Errorf("revoke: %w: it has one already", ErrFollowed)
	}
	l.fed = true
	// From now on the stream's clock has a say in what may be forgotten.
	l.streamOffset.CompareAndSwap(math.MaxInt64, math.MinInt64)
	return l.gen, nil
}

func (hands) Leave(l *List, generation uint64) {
	l.stateFile.leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fed = false
	l.gen = generation
}

func (hands) Counters(l *List) *inside.Counters { return &l.counters.feed }

func (hands) Gather(l *List, now Instant, stored time.Time, received *Event, unusable []string, h Retention, log *slog.Logger) (credential bool) {
	e := *received
	if !e.At.IsZero() && e.At.Sub(stored).Abs() > l.cfg.MaxSkew {
		l.counters.brokerClock.Add(1)
	}
	l.foreign(now, e.Issuer, log)
	of := l.gathered.of(l.hasher, e.Issuer)
	if credentialIn(e.Value) != "" || of.credential && l.issuers.find(e.Issuer) == nil {
		l.counters.credentials.Add(1)
		credential = true
	}
	for _, name := range unusable {
		if i := optionalMember(name); i >= 0 {
			l.counters.unusable[i].Add(1)
			at := now
			l.counters.lastFault.Store(&at)
		}
	}
	e.assume(unusable, stored, h)
	e.clamp(stored, h)
	l.prefilters[e.Kind].add(e.Value)
	l.gathered.entries = append(l.gathered.entries, newEntry(of, &e))
	return credential
}

func (hands) Commit(l *List, now Instant) { l.commit(now) }

func (hands) Reading(member string) string {
	if i := optionalMember(member); i >= 0 {
		return optionalMembers[i].reading
	}
	return ""
}

func (hands) Fault(l *List, now Instant, fault Fault) Fault {
	if int(fault) >= faults || fault == 0 {
		fault = FaultMalformed
	}
	l.counters.faults[fault].Add(1)
	l.counters.lastFault.Store(&now)
	return fault
}

func (hands) Heard(l *List, now Instant, stored time.Time) {
	if off := stored.UnixNano() - now.Mono; off > l.streamOffset.Load() {
		l.streamOffset.Store(off)
	}
	l.tidy(now)
}

func (hands) Reads(l *List, now Instant, log bool) { l.setBulk(now, log) }

func (hands) Extend(l *List, h Retention) {
	known := l.retention.Load().or(h)
	l.retention.Store(&known)
}

func (hands) Proof(l *List) (proven Instant, block, reason Reason, critical int64) {
	p := l.proof.Load()
	return p.proven, p.block, p.reason, p.critical
}

func (hands) Prove(l *List, now, proven Instant, block, reason Reason, critical int64) (State, Reason, time.Duration) {
	p := proof{proven: proven, block: block, reason: reason, critical: critical}
	if old := l.proof.Load(); *old != p {
		l.proof.Store(&p)
	}
	s, r, age := p.state(l, now)
	if s == StateFresh {
		l.everFresh.Store(true)
	}
	return s, r, age
}

func (hands) OwnBeat(l *List, sent, received Instant, stored time.Time) {
	l.clockRead(sent, received, stored)
}

func (hands) ClockAgrees(l *List, now Instant) { l.clockAgrees(now) }

func (hands) Prepare(l *List, id Identity) any { return l.prepare(&id) }

func (hands) Quiet(l *List, now Instant, seen *atomic.Uint64) bool { return l.quiet(now, seen) }

func (hands) PreparedBytes() int { return preparedBytes }

func (hands) Complete(e Event, now time.Time, h Retention) (Event, error) { return e.complete(now, h) }

func (hands) ParseKind(name string) (Kind, bool) { return parseKind(name) }

func (hands) CheckIdentifier(field, s string) error { return checkIdentifier(field, s) }

func (hands) CeilMilli(t time.Time) time.Time { return ceilMilli(t) }
