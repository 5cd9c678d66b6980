package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Logout ends a session, here and at every service. It may be called again: ending an
// ended session tells the services once more. An error of [ErrTryAgain] means that not
// all is done; [ErrPending], that the session is over here and its access tokens may
// be good until they expire.
func (m *Manager) Logout(ctx context.Context, sessionID string) error {
	return m.logout(ctx, sessionID, "logout", "")
}

// Revoke is [Manager.Logout] for an operator, who says why and who he is. Both are for
// people, and reach every service's log. Each is UTF-8 of at most
// [revoke.MaxReasonBytes]; otherwise nothing is done, and the error matches
// [revoke.ErrInvalidEvent].
func (m *Manager) Revoke(ctx context.Context, sessionID, reason, actor string) error {
	return m.logout(ctx, sessionID, reason, actor)
}

func (m *Manager) logout(ctx context.Context, sid, reason, actor string) error {
	err := m.begin(ctx)
	if err == nil {
		if _, ok := parseSID(sid); !ok {
			if err := revoke.CheckIdentifier("session id", sid); errors.Is(err, revoke.ErrCredential) {
				return fmt.Errorf("refresh: logout: %w", err)
			}
			return errors.New("refresh: logout: not a session id")
		}
		if err := m.sayable(revoke.Session, sid, reason, actor); err != nil {
			return fmt.Errorf("refresh: logout: %w", err)
		}
		var s *session
		if s, err = m.end(ctx, sid, ending{reason: reason, actor: actor, publish: true}); err == nil {
			m.unlist(ctx, s)
		}
	}
	if err != nil {
		return fmt.Errorf("refresh: logout: %w", err)
	}
	return nil
}

// unlist takes a session that is over, here and at the services, from its subject's
// list, where it would be looked up until its absolute limit. It does what it can.
func (m *Manager) unlist(ctx context.Context, s *session) {
	ctx, cancel := m.after(ctx)
	defer cancel()
	for range maxTries {
		if s.Subject == "" { // it was forgotten before it ended
			return
		}
		sub, err := m.loadSubject(ctx, s.Subject)
		if err != nil || !sub.has(s.SID) {
			return
		}
		next := *sub.subject
		next.Live = slices.DeleteFunc(slices.Clone(next.Live), func(l live) bool { return l.SID == s.SID })
		if _, err := m.saveSubject(ctx, sub, &next); !errors.Is(err, ErrConflict) {
			return
		}
	}
}

// An ending says how a session is to end.
type ending struct {
	reason, actor string
	publish       bool // a session event; otherwise another event covers its tokens
}

// end ends a session in the store and tells the services. It returns the record as it
// is now.
func (m *Manager) end(ctx context.Context, sid string, how ending) (*session, error) {
	var failed error
	for range maxTries {
		r, err := m.loadSession(ctx, sid)
		if errors.Is(err, ErrNotFound) {
			// Forgotten; or a slow store does not show it, and then this cannot be
			// written. Nobody knows when its last token was issued.
			r, err = m.forgotten(sid), nil
		}
		if err != nil {
			return nil, errors.Join(failed, err)
		}
		if r.Ended != 0 {
			if !how.publish && !r.Pending {
				return r.session, nil
			}
			return r.session, m.tell(ctx, r)
		}
		next := r.clone()
		next.Ended, next.Reason, next.Actor, next.Pending = max(m.millis(), 1), how.reason, how.actor, how.publish
		next.Steps, next.Former, next.FormerUntil = nil, nil, 0
		revision, err := m.saveSession(ctx, r.key, r.revision, next)
		switch {
		case errors.Is(err, ErrConflict):
			continue
		case err != nil:
			failed = err // the next reading tells what became of it
			if ctx.Err() != nil {
				return nil, err
			}
			continue
		}
		if !how.publish {
			return next, nil
		}
		return next, m.tell(ctx, storedSession{next, r.key, revision})
	}
	if failed != nil {
		return nil, failed
	}
	return nil, ErrBusy
}

// forgotten stands for a session of which the store has no record.
func (m *Manager) forgotten(sid string) storedSession {
	return storedSession{&session{V: recordVersion, SID: sid, Until: m.millis()}, recordKey("s", m.issuer.Issuer, sid), 0}
}

// tell publishes the end of an ended session, and then takes note that it did.
func (m *Manager) tell(ctx context.Context, r storedSession) error {
	ctx, cancel := m.after(ctx)
	defer cancel()
	if err := m.publish(ctx, m.sessionEvent(r.SID, r.Issued, r.Reason, r.Actor)); err != nil {
		return err
	}
	if !r.Pending {
		return nil
	}
	m.replayed(ctx, r.session) // who found it perhaps did not learn that it had ended the session
	next := r.clone()
	next.Pending = false
	if _, err := m.saveSession(ctx, r.key, r.revision, next); err != nil && !errors.Is(err, ErrConflict) {
		// Published all the same; the next who comes upon it does so again.
		m.log.Debug("refresh: published, and not noted", "sid", r.SID, "error", err)
	}
	return nil
}
