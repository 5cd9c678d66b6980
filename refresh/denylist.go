package refresh

import (
	"context"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// identity is what the denylist knows a session by: by its start, or by when its user was
// authenticated if that is earlier by more than the slack. A login that an instance let in
// which had not heard of a cutoff yet is found out so.
func (m *Manager) identity(s *session) revoke.Identity {
	at := s.Start
	if s.AuthTime != 0 { // of one that is over nobody knows it
		at = min(at, s.AuthTime+m.slack)
	}
	return revoke.Identity{
		Issuer: m.issuer.Issuer, Session: s.SID, Subject: s.Subject, Client: s.Client, Tenant: s.Tenant,
		IssuedAt: time.UnixMilli(at),
	}
}

// cutOff reports whether the replica, however old, holds the session as revoked.
func (m *Manager) cutOff(s *session) bool {
	id := m.identity(s)
	return m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()) != nil
}

const reasonDenylist = "denylist"

// superseded ends a session that began, or whose user was authenticated, before a cutoff,
// and that has a token which is dated after it: the services do not know.
func (m *Manager) superseded(ctx context.Context, r *session, why error) error {
	ctx, cancel := m.after(ctx)
	defer cancel()
	switch ended, err := m.end(ctx, r.SID, ending{reason: reasonDenylist, publish: true}); {
	case ended == nil:
		return err
	case err != nil:
		return fmt.Errorf("%w: %w; %w", ErrEnded, why, withoutFamily{err})
	}
	return fmt.Errorf("%w: %w", ErrEnded, why)
}
