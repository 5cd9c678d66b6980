package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Sessions returns the live sessions of a subject, the newest login first: what a page
// of a user's devices shows, without those that the denylist has cut off. It reads the
// subject's record and those of its sessions, and no others.
func (m *Manager) Sessions(ctx context.Context, sub string) ([]Session, error) {
	began := m.millis()
	list, err := m.sessions(ctx, sub)
	m.count(ctx, &m.counts.sessions, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: sessions: %w", err)
	}
	return list, nil
}

func (m *Manager) sessions(ctx context.Context, sub string) ([]Session, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	r, err := m.loadSubject(ctx, sub)
	if err != nil {
		return nil, err
	}
	if r.Op != "" {
		if err := m.finish(ctx, sub, r); err != nil {
			m.log.Warn("refresh: logout everywhere still pending", "error", err)
		}
	}
	if err := m.restored(ctx, false); err != nil {
		m.log.Debug("refresh: sessions are listed all the same", "error", err)
	}
	var mu sync.Mutex
	var list []Session
	var failed error
	each(m.parallel, r.Live, func(l live) {
		s, err := m.loadSession(ctx, l.SID)
		if err == nil && s.Ended != 0 && s.Pending {
			if err := m.tell(ctx, s); err != nil {
				m.log.Warn("refresh: session ended, and the services do not know it yet", "sid", s.SID, "error", err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, ErrNotFound), err == nil && (s.Ended != 0 || m.cutOff(s) || m.revived(s)):
		case err != nil:
			failed = err
		default:
			if d := m.describe(s); !d.Expires.Before(m.now().Time()) {
				list = append(list, d)
			}
		}
	})
	if failed != nil {
		return nil, failed
	}
	slices.SortFunc(list, func(a, b Session) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// Reauthenticate replaces a session by a new one, after its user was authenticated
// again or got more rights: under a new id, with the AuthTime, ACR and AMR of l; the old
// one is dead (OWASP ASVS 5.0, 7.2.4). Subject and Client of l must be the session's, or
// empty; what else l leaves empty carries over, but AuthTime, ACR and AMR.
//
// A session that was ended or revoked by anyone, until the last moment, has no successor:
// [ErrEnded]. The old session ends first. If the login then fails, the user has to log in.
func (m *Manager) Reauthenticate(ctx context.Context, sessionID string, l Login) (*Grant, error) {
	began := m.millis()
	g, err := m.reauthenticate(ctx, sessionID, l)
	m.count(ctx, &m.counts.reauthenticate, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: reauthenticate: %w", err)
	}
	return g, nil
}

const reasonReauthenticated = "reauthenticated"

func (m *Manager) reauthenticate(ctx context.Context, sid string, as Login) (*Grant, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	if _, ok := parseSID(sid); !ok {
		return nil, fmt.Errorf("%w: not a session id", ErrLogin)
	}
	if err := m.clock(); err != nil {
		return nil, err
	}
	var l Login
	if _, err := (update[*session]{
		load: m.loading(sid, errUnknown),
		change: func(r *session) (*session, error) {
			l = as
			return r, m.replaceable(ctx, r, &l)
		},
	}).do(ctx, m); err != nil {
		return nil, err
	}
	store, cancel := m.after(ctx)
	old, err := m.end(store, sid, ending{reason: reasonReauthenticated, publish: true})
	cancel()
	switch {
	case err != nil:
		return nil, err
	case old.Reason != reasonReauthenticated:
		return nil, ErrEnded // by somebody else, since it was read: what killed it kills its heir
	}
	return m.login(ctx, l)
}

// replaceable returns an error unless the session may be replaced by one that begins as l
// says, into which it fills what carries over.
func (m *Manager) replaceable(ctx context.Context, r *session, l *Login) error {
	if l.Subject == "" {
		l.Subject = r.Subject
	}
	if l.Client == "" {
		l.Client = r.Client
	}
	at, _ := r.deadline(&m.cfg.Lifetimes)
	switch {
	case r.Ended != 0: // first: what it was is not kept
		return m.over(ctx, r)
	case l.Subject != r.Subject:
		return fmt.Errorf("%w: Subject is not the session's", ErrLogin)
	case l.Client != r.Client:
		return fmt.Errorf("%w: Client is not the session's", ErrLogin)
	case m.millis() > at:
		return ErrSessionExpired
	}
	// The old session does not end where no new one can begin.
	if err := m.restored(ctx, false); err != nil {
		return err
	}
	if m.revived(r) {
		return m.bringDown(ctx, r)
	}
	if err := r.understood(); err != nil {
		return err
	}
	if sub, err := m.loadSubject(ctx, r.Subject); err != nil {
		return err
	} else if err := sub.understood(); err != nil {
		return err
	}
	if err := m.unrevoked(ctx, r); err != nil {
		return err
	}
	if err := l.carryOver(r); err != nil {
		return err
	}
	claims, err := m.checkLogin(l)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	// The old session does not end for a token that cannot be issued. This one is not given
	// out, and need not pass the cutoffs that the new session's will pass.
	if _, err := m.firstToken(ctx, m.begun(l, claims, r.SID, m.millis())); err != nil && !errors.Is(err, ErrConflict) {
		return err
	}
	return nil
}

// carryOver fills what l leaves empty from the session that it replaces.
func (l *Login) carryOver(r *session) (err error) {
	if l.Audience == nil {
		l.Audience = r.Audience
	}
	if l.Scope == nil {
		l.Scope = r.Scope
	}
	if l.Tenant == "" {
		l.Tenant = r.Tenant
	}
	if l.Binding.IsZero() {
		l.Binding = r.binding()
	}
	if l.Device == (Device{}) {
		l.Device = Device{r.Label, r.Address}
	}
	if l.Claims == nil && len(r.Claims) > 0 {
		l.Claims, err = decodeClaims(r.Claims)
	}
	return err
}
