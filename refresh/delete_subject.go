package refresh

import (
	"context"
	"errors"
	"fmt"
)

// DeleteSubject ends all sessions of a subject, as [Manager.LogoutAll] does, and has the
// store forget of whom they were: for a person whose data is to be erased (GDPR, Article
// 17). Delete the account first: a login that is authenticated after the call begins a
// session.
//
// When it returns nil, the store no longer tells whose a session was that was live, or was
// over and not yet told of. What remains, and for how long:
//
//   - A record under a hash of issuer and subject, with the time of the call, for the
//     longest of [Lifetimes].Absolute and the token lifetime, and MaxSkew: it refuses logins
//     that were under way.
//   - Of each session its id, times and hashes of its secrets, for a token lifetime.
//   - Of sessions that had ended before, which no list names any more: the subject, and why
//     and by whom they were ended, for a token lifetime since then.
//   - Of a session whose login failed after it was written, which no list names either:
//     everything, until it is idle for too long.
//   - The event, which names the subject: in the stream, its mirrors and the memory and
//     outbox of its publisher, for the stream's SessionLifetime and 15 min. Replicas and
//     their state files hold a hash.
//   - Backups of all these, and logs: a warning about work that stays pending names the
//     subject.
//
// The store keeps a record for five minutes beyond these times, and a bucket its ClockSkew.
//
// An error of [ErrTryAgain] means that not all is done, as in [Manager.LogoutAll]: what the
// store has is finished by a Manager that runs, and calling again does no harm.
func (m *Manager) DeleteSubject(ctx context.Context, sub string) error {
	began := m.millis()
	_, err := m.logoutAll(ctx, sub, &logoutAll{reason: "subject deleted", forget: true})
	m.count(ctx, &m.counts.deleteSubject, began, err)
	if err != nil {
		return fmt.Errorf("refresh: deleting a subject: %w", err)
	}
	return nil
}

// forgets reports whether what LogoutAll has still to do is for DeleteSubject.
func (s *subject) forgets() bool { return s.Op != "" && s.Forget == s.Op }

// forget has the store forget of whom a session was that is over and told of.
func (m *Manager) forget(ctx context.Context, sid string) error {
	_, err := update[*session]{
		load: m.loading(sid, ErrNotFound),
		change: func(r *session) (*session, error) {
			switch {
			case r.Ended == 0: // in a store that is behind
				return nil, fmt.Errorf("%w: it shows session %s, which is over, as live", ErrStore, sid)
			case r.nameless():
				return r, nil
			}
			next := r.remains()
			next.Subject, next.Reason, next.Actor = "", "", ""
			return next, nil
		},
	}.do(ctx, m)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// nameless reports whether nothing in the record tells of whom the session was.
func (s *session) nameless() bool {
	return s.Subject == "" && s.Reason == "" && s.Actor == "" && s.Client == "" && s.Tenant == "" && s.Label == "" && s.Address == "" && s.Claims == nil
}
