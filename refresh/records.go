package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What was read, and where. Revision zero: there is no record yet.
type (
	storedSession struct {
		*session
		key      string
		revision uint64
	}
	storedSubject struct {
		*subject
		key      string
		revision uint64
	}
)

// loadSession returns ErrNotFound if there is none.
func (m *Manager) loadSession(ctx context.Context, sid string) (storedSession, error) {
	key := recordKey("s", m.issuer.Issuer, sid)
	r, err := m.load(ctx, key)
	if err != nil {
		return storedSession{}, err
	}
	s, err := decodeSession(r.Value, sid)
	if err != nil {
		return storedSession{}, fmt.Errorf("%w: session %s: %w", ErrStore, sid, err)
	}
	return storedSession{s, key, r.Revision}, nil
}

// loadSubject returns an empty record if there is none.
func (m *Manager) loadSubject(ctx context.Context, sub string) (storedSubject, error) {
	key := recordKey("u", m.issuer.Issuer, sub)
	r, err := m.load(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return storedSubject{&subject{V: recordVersion}, key, 0}, nil
	}
	if err != nil {
		return storedSubject{}, err
	}
	s, err := decodeSubject(r.Value)
	if err != nil {
		return storedSubject{}, fmt.Errorf("%w: a subject: %w", ErrStore, err)
	}
	return storedSubject{s, key, r.Revision}, nil
}

func (m *Manager) load(ctx context.Context, key string) (Record, error) {
	began := m.millis()
	r, err := m.cfg.Store.Load(ctx, key)
	m.noted(ctx, began, err)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return r, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return r, err
}

// saveSession writes s where the store still has that revision. The error matches
// ErrConflict if it has not, and ErrStore if nobody knows.
func (m *Manager) saveSession(ctx context.Context, key string, revision uint64, s *session) (uint64, error) {
	at, _ := s.deadline(&m.cfg.Lifetimes)
	if s.Ended != 0 {
		// As long as its tokens: a refresh token of a session that is forgotten is worth as
		// little, and one account could fill the store with what it has ended.
		at = max(s.Ended, s.Issued) + m.issuer.TokenLifetime.Milliseconds()
		if !s.Pending {
			s = s.remains()
		}
	}
	return m.save(ctx, key, revision, s, at)
}

func (m *Manager) saveSubject(ctx context.Context, r storedSubject, s *subject) (uint64, error) {
	// A cutoff is remembered for as long as an authentication counts.
	at := max(m.millis(), s.Cutoff+m.skew+max(m.cfg.Lifetimes.Absolute, m.issuer.TokenLifetime).Milliseconds())
	for _, l := range s.Live {
		at = max(at, l.Until)
	}
	if s.Op != "" {
		at = max(at, s.At+m.cfg.Revocations.Config().SessionLifetime.Milliseconds())
	}
	return m.save(ctx, r.key, r.revision, s, at)
}

func (m *Manager) save(ctx context.Context, key string, revision uint64, r any, until int64) (uint64, error) {
	b, err := encodeRecord(r)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrStore, err)
	}
	began := m.millis()
	next, err := m.cfg.Store.Save(ctx, key, b, revision, time.UnixMilli(until).Add(keepRecord))
	if err == nil || revision != 0 { // a store that has no room for new records serves those that there are
		m.noted(ctx, began, err)
	}
	if err != nil && !errors.Is(err, ErrConflict) {
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return next, err
}

// noted takes down how an access to the store went that began then. That a caller was gone
// before the store had time to answer says nothing of it: strangers choose when they hang up,
// and some protocols let them set the deadline.
func (m *Manager) noted(ctx context.Context, began int64, err error) {
	now := m.millis()
	ok := err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict)
	if !ok && impatient(ctx, began, now) {
		return
	}
	m.outages.note(began, now, ok)
	if !ok {
		m.guard.doubt()
	}
}

// hearing is how long whoever asked has to wait, in milliseconds, for a missing answer to be
// our fault.
const hearing = 1000

// impatient reports whether ctx ended before that.
func impatient(ctx context.Context, began, now int64) bool {
	return ctx.Err() != nil && now-began < hearing
}
