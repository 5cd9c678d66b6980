package revoke

import "time"

// A proof is what a feed has established about the replica: immutable, replaced as
// a whole. Ages are computed when asked, from stored instants, never by a ticker,
// so that a stopped process cannot look fresh.
type proof struct {
	proven   Instant // P: every event acknowledged before it is applied; zero: none
	block    Reason  // withholds freshness whatever the age; ReasonNone: nothing does
	critical int64   // an event not understood withholds it until then, unix milliseconds of the stream's time
	reason   Reason  // what a replica that is not fresh suffers from
}

// state judges p at an instant.
func (p *proof) state(l *List, now Instant) (s State, r Reason, age time.Duration) {
	age = -1
	if p.proven.IsZero() {
		if p.block != ReasonNone {
			return StateSyncing, p.block, age
		}
		return StateSyncing, p.reason, age
	}
	age = max(now.Since(p.proven), 0)
	switch {
	case p.block != ReasonNone:
		return StateStale, p.block, age
	case p.critical != 0 && l.criticalAt(now) < p.critical:
		return StateStale, ReasonCritical, age
	case age > l.cfg.MaxStaleness:
		if p.reason == ReasonNone {
			return StateStale, ReasonNoHeartbeat, age
		}
		return StateStale, p.reason, age
	}
	return StateFresh, ReasonNone, age
}

// fresh reports whether state is StateFresh. It may be mistaken only the other way.
func (p *proof) fresh(l *List, now Instant) bool {
	return p.block == ReasonNone && p.critical == 0 && !p.proven.IsZero() && now.Since(p.proven) <= l.cfg.MaxStaleness
}

// criticalAt is the clock that an unsupported critical event is waited out by: the
// later-running of the two would end the wait early if it is wrong, so the earlier.
func (l *List) criticalAt(now Instant) int64 {
	return (l.effective(now) + int64(graceAfterUntil/time.Second)) * 1000
}

// judge returns nil if a token that no known event revokes may be accepted.
func (p *proof) judge(l *List, now Instant, iat time.Time, policy Policy) error {
	s, r, age := p.state(l, now)
	if s == StateFresh {
		return nil
	}
	switch policy.mode {
	case policyMaxStaleness:
		// Age can be waived; an event that is not understood, or a stream that forgets, can not.
		if age >= 0 && age <= policy.d && policy.d <= l.cfg.TokenLifetime && p.block == ReasonNone && r != ReasonCritical {
			return nil
		}
	case policyAllowYounger:
		// A token from the future shows that one of two clocks is wrong: no grounds for trust.
		young := now.Time().Sub(iat)
		if young >= -l.cfg.MaxSkew && young <= policy.d && policy.d < l.cfg.TokenLifetime {
			return nil
		}
	case policyInsecureAllow:
		return nil
	}
	return &StaleError{State: s, Reason: r, Age: age}
}

// Status tells how fresh the replica is at an instant. A Local List is always fresh.
func (l *List) Status(now Instant) Status {
	l.tidy(now)
	if l.cfg.Local {
		return Status{State: StateFresh, Proven: now, Degraded: l.counters.degraded(now, l.cfg.TokenLifetime)}
	}
	p := l.proof.Load()
	s, r, age := p.state(l, now)
	return Status{State: s, Reason: r, Proven: p.proven, Age: age, Degraded: l.counters.degraded(now, l.cfg.TokenLifetime)}
}
