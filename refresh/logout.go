package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Logout ends a session, here and at every service. The services are told beside the work
// on the store: neither waits for the other, and once begun neither ends with ctx; each
// is given up after 15 s. It may be called again: ending an ended session tells the
// services once more.
//
// A session that the store does not know, or not within a second, is told of for one token
// lifetime and not recorded: the id is the caller's word. Of such ids a Manager tells
// 1,000 at once and 20 a second; the others are [ErrTryAgain].
//
// An error of [ErrTryAgain] means that not all is done: call again. [ErrPending]: the session
// is over here and its access tokens may be good until they expire, or the other way round.
// What is no session id matches [ErrRequest].
func (m *Manager) Logout(ctx context.Context, sessionID string) error {
	began := m.millis()
	err := m.logout(ctx, sessionID, "logout", "")
	m.count(ctx, &m.counts.logout, began, err)
	return err
}

// Revoke is [Manager.Logout] for an operator, who says why and who he is. Both are for
// people, and reach every service's log. Each is UTF-8 of at most
// [revoke.MaxReasonBytes]; otherwise nothing is done, and the error matches
// [revoke.ErrInvalidEvent].
func (m *Manager) Revoke(ctx context.Context, sessionID, reason, actor string) error {
	began := m.millis()
	err := m.logout(ctx, sessionID, reason, actor)
	m.count(ctx, &m.counts.revoke, began, err)
	return err
}

func (m *Manager) logout(ctx context.Context, sid, reason, actor string) error {
	err := m.begin(ctx)
	if err == nil {
		if _, ok := parseSID(sid); !ok {
			if err := replica.CheckIdentifier("session id", sid); errors.Is(err, revoke.ErrCredential) {
				return fmt.Errorf("refresh: logout: %w", err)
			}
			return fmt.Errorf("refresh: logout: %w: not a session id", ErrRequest)
		}
		if err := m.checkEvent(revoke.KindSession, sid, reason, actor); err != nil {
			return fmt.Errorf("refresh: logout: %w", err)
		}
		err = m.logoutOf(ctx, sid, ending{reason: reason, actor: actor, publish: true})
	}
	if err != nil {
		return fmt.Errorf("refresh: logout: %w", err)
	}
	return nil
}

// logoutOf ends a session that a caller names, who may have made it up.
func (m *Manager) logoutOf(ctx context.Context, sid string, how ending) error {
	ctx, cancel := m.after(ctx)
	defer cancel()
	r, err := m.loadSoon(ctx, sid)
	switch {
	case err == nil && r.Ended != 0 && !r.Pending:
		return m.tellAgain(ctx, r)
	case err == nil:
	case !m.onWord.allow("", m.now()):
		return fmt.Errorf("%w: too many logouts of sessions that the store does not show", errBusy)
	case errors.Is(err, ErrNotFound):
		// It never was, or is forgotten, and then no token of it counts any more; or the store
		// has lost it, as one that was restored has, and its access tokens live.
		return m.publish(ctx, m.sessionEvent(sid, 0, how.reason, how.actor))
	default: // the services need not wait for the store
		how.told = m.startTelling(ctx, m.sessionEvent(sid, 0, how.reason, how.actor), m.millis())
	}
	s, err := m.end(ctx, sid, how)
	if err == nil {
		m.unlist(ctx, s)
	}
	return err
}

// loadSoon is loadSession, of a store that answers soon.
func (m *Manager) loadSoon(ctx context.Context, sid string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, storeSays)
	if m.parallel <= 1 {
		defer cancel()
		return m.loadSession(ctx, sid)
	}
	type answer struct {
		r   *session
		err error
	}
	answers := make(chan answer, 1) // which may come when nobody waits any more
	go func() {
		defer cancel()
		r, err := m.loadSession(ctx, sid)
		answers <- answer{r, err}
	}()
	timer := time.NewTimer(storeSays)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.r, a.err
	case <-timer.C:
		return nil, fmt.Errorf("%w: no answer within %s", ErrStore, storeSays)
	}
}

// tellAgain tells of a session that has ended and was told of: as often as the caller
// likes where others do not, and not above the bound where this replica knows.
func (m *Manager) tellAgain(ctx context.Context, r *session) error {
	if !m.onWord.allow("", m.now()) && m.cutOff(r) {
		return nil
	}
	return m.tell(ctx, r)
}

// unlist takes a session that is over, here and at the services, from its subject's
// list, where it would be looked up until its absolute limit. It does what it can.
func (m *Manager) unlist(ctx context.Context, s *session) {
	if s.Subject == "" { // it was forgotten before it ended
		return
	}
	ctx, cancel := m.after(ctx)
	defer cancel()
	_, _ = update[*subject]{
		load: m.loadingSubject(s.Subject),
		change: func(sub *subject) (*subject, error) {
			if !sub.has(s.SID) {
				return sub, nil
			}
			next := *sub
			next.Live = slices.DeleteFunc(slices.Clone(next.Live), func(l live) bool { return l.SID == s.SID })
			return &next, nil
		},
	}.do(ctx, m)
}

// An ending says how a session is to end.
type ending struct {
	reason, actor string
	publish       bool     // a session event; otherwise another event covers its tokens
	told          *telling // the event, if that was begun already
}

// end ends a session in the store and tells the services, each with a budget of its own:
// ctx is the store's. It returns the record as it is now, nil if nobody knows that it has
// ended there. The error then says whether the services have been told all the same.
func (m *Manager) end(ctx context.Context, sid string, how ending) (*session, error) {
	s, err := m.endHere(ctx, sid, &how)
	if s != nil || how.told == nil {
		return s, err
	}
	if failed := how.told.wait(); failed != nil {
		return nil, fmt.Errorf("%w; %w", err, failed)
	}
	return nil, fmt.Errorf("%w: the services know it, and the store does not: %w", ErrPending, err)
}

func (m *Manager) endHere(ctx context.Context, sid string, how *ending) (*session, error) {
	s, err := update[*session]{
		load: func(ctx context.Context) (*session, error) {
			r, err := m.loadSession(ctx, sid)
			if errors.Is(err, ErrNotFound) {
				// Forgotten; or a slow store does not show it, and then this cannot be
				// written. Nobody knows when its last token was issued.
				return m.forgotten(sid), nil
			}
			return r, err
		},
		change: func(r *session) (*session, error) {
			if r.Ended != 0 {
				return r, nil
			}
			now, pending := m.millis(), false
			if how.publish {
				if how.told == nil {
					at := max(r.Issued, now)
					how.told = m.startTelling(ctx, m.sessionEvent(sid, at, how.reason, how.actor), at)
				}
				if pending = !how.told.soon(); pending {
					m.owe(ctx, work{SID: sid})
				}
			}
			return r.end(now, how.reason, how.actor, pending), nil
		},
		repeat: true,
	}.do(ctx, m)
	if err != nil || !how.publish {
		return s, err
	}
	return s, m.told(ctx, s, how.told)
}

// forgotten stands for a session of which the store has no record.
func (m *Manager) forgotten(sid string) *session {
	return &session{V: recordVersion, SID: sid, Until: m.millis(), place: place{key: m.sessionKey(sid)}}
}

// told is tell for a session of which t tells, if it covers all of its tokens.
func (m *Manager) told(ctx context.Context, r *session, t *telling) error {
	if t == nil {
		return m.tell(ctx, r)
	}
	if err := t.wait(); err != nil {
		return err
	}
	if r.Issued > t.until { // it was refreshed meanwhile, or by a clock that is ahead
		return m.tell(ctx, r)
	}
	return m.noteTold(ctx, r)
}

// tell publishes the end of an ended session, and then takes note that it did.
func (m *Manager) tell(ctx context.Context, r *session) error {
	if err := m.publish(ctx, m.sessionEvent(r.SID, r.Issued, r.Reason, r.Actor)); err != nil {
		return err
	}
	return m.noteTold(ctx, r)
}

// settle tells of a session that has ended if nobody has yet.
func (m *Manager) settle(ctx context.Context, sid string) error {
	ctx, cancel := m.after(ctx)
	defer cancel()
	r, err := m.loadSession(ctx, sid)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && !r.Pending:
		return nil
	case err != nil:
		return err
	}
	return m.tell(ctx, r)
}

func (m *Manager) noteTold(ctx context.Context, r *session) error {
	if !r.Pending {
		return nil
	}
	ctx, cancel := m.after(ctx)
	defer cancel()
	m.replayed(ctx, r) // who found it perhaps did not learn that it had ended the session
	if err := m.save(ctx, r.remains()); err != nil && !errors.Is(err, ErrConflict) {
		// Published all the same; the next who comes upon it does so again.
		m.log.Debug("refresh: published, and not noted", "sid", r.SID, "error", err)
	}
	return nil
}
