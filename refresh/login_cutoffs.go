package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A verdict says whether a login was authenticated after every cutoff that concerns it.
type verdict int

const (
	passed  verdict = iota
	unsure          // within MaxSkew of one: the clocks of two instances cannot tell
	refused         // before one
	future          // before one that lies in the future, by more than clocks may differ
)

// judge compares when the user was authenticated with the cutoffs that are known: the
// subject record's, which is by a Manager's clock, and the replica's for the subject, the
// client, the tenant and the issuer, which lie the slack ahead of their publishers'. A
// cutoff that follows the authentication ends the login; those before it are passed.
func (m *Manager) judge(cutoff, now int64, l *Login) verdict {
	at := l.AuthTime.UnixMilli()
	covered := m.covered(l)
	cutoff = max(cutoff, m.guard.boundary.Load()) // a restore has forgotten later ones
	switch {
	case at <= cutoff && cutoff > now+m.skew, covered(max(at, now+m.skew+1) + m.slack):
		return future
	case cutoff != 0 && at <= cutoff, covered(at + m.slack):
		return refused
	case cutoff != 0 && at <= cutoff+m.skew, covered(at + m.slack - m.skew):
		return unsure
	}
	return passed
}

// covered returns what asks the replica whether it revokes tokens of a new session that
// are dated so.
func (m *Manager) covered(l *Login) func(at int64) bool {
	id := revoke.Identity{Issuer: m.issuer.Issuer, Subject: l.Subject, Client: l.Client, Tenant: l.Tenant}
	return func(at int64) bool {
		id.IssuedAt = time.UnixMilli(at)
		return errors.Is(m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()), revoke.ErrRevoked)
	}
}

// startAfter returns the first instant, not before start, that no cutoff known here covers
// (invariant 5). Publishers set cutoffs up to the slack ahead of their clocks, which may
// be ahead of ours by MaxSkew.
func (m *Manager) startAfter(start int64, l *Login) (int64, error) {
	covered := m.covered(l)
	furthest := m.millis() + m.skew + m.slack + 1
	if start > furthest {
		return 0, fmt.Errorf("%w: the subject's cutoff lies in the future", errClock)
	}
	if !covered(start) {
		return start, nil
	}
	low, high := start, furthest // covered, and not
	if high <= low || covered(high) {
		return 0, fmt.Errorf("%w: a cutoff for the subject, client, tenant or issuer lies in the future", errClock)
	}
	for high-low > 1 {
		if mid := low + (high-low)/2; covered(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return high, nil
}

// pause waits for that many milliseconds, unless ctx ends first.
func (m *Manager) pause(ctx context.Context, ms int64) error {
	if err := m.wait(ctx, time.Duration(ms)*time.Millisecond); err != nil {
		return fmt.Errorf("%w: waiting to pass a cutoff: %w", ErrTryAgain, err)
	}
	return nil
}
