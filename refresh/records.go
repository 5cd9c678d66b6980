package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A record is what the Manager writes into the store.
type record interface {
	// where returns the place that it was read from and is written to.
	where() *place

	// expires returns until when it is of use, in unix milliseconds.
	expires(m *Manager) int64
}

// A place is part of a record. Revision zero: the store has none yet.
type place struct {
	key      string
	revision uint64
}

func (p *place) where() *place { return p }

// loadSession returns ErrNotFound if there is none.
func (m *Manager) loadSession(ctx context.Context, sid string) (*session, error) {
	key := m.sessionKey(sid)
	r, err := m.load(ctx, key)
	if err != nil {
		return nil, err
	}
	s, err := decodeSession(r.Value, sid)
	if err != nil {
		return nil, fmt.Errorf("%w: session %s: %w", ErrStore, sid, err)
	}
	s.place = place{key, r.Revision}
	return s, nil
}

func (m *Manager) sessionKey(sid string) string { return recordKey("s", m.issuer.Issuer, sid) }

// loading returns what loads a session, and the error if there is none.
func (m *Manager) loading(sid string, none error) func(context.Context) (*session, error) {
	return func(ctx context.Context) (*session, error) {
		r, err := m.loadSession(ctx, sid)
		if errors.Is(err, ErrNotFound) {
			err = none
		}
		return r, err
	}
}

// loadSubject returns an empty record if there is none.
func (m *Manager) loadSubject(ctx context.Context, sub string) (*subject, error) {
	return loadOr(ctx, m, recordKey("u", m.issuer.Issuer, sub), "a subject", &subject{V: recordVersion}, decodeSubject)
}

// loadingSubject returns what loads a subject.
func (m *Manager) loadingSubject(sub string) func(context.Context) (*subject, error) {
	return func(ctx context.Context) (*subject, error) { return m.loadSubject(ctx, sub) }
}

// loadOr reads a record, or returns an empty one if there is none.
func loadOr[R record](ctx context.Context, m *Manager, key, name string, empty R, decode func([]byte) (R, error)) (R, error) {
	var none R
	r, err := m.load(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		*empty.where() = place{key: key}
		return empty, nil
	case err != nil:
		return none, err
	}
	x, err := decode(r.Value)
	if err != nil {
		return none, fmt.Errorf("%w: %s: %w", ErrStore, name, err)
	}
	*x.where() = place{key, r.Revision}
	return x, nil
}

func (m *Manager) load(ctx context.Context, key string) (Record, error) {
	began := m.millis()
	var r Record
	err := guarded("store", func() (err error) {
		r, err = m.cfg.Store.Load(ctx, key)
		return err
	})
	m.noted(ctx, began, err)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return r, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return r, err
}

func (s *session) expires(m *Manager) int64 {
	if s.Ended != 0 {
		// As long as its tokens: a refresh token of a session that is forgotten is worth as
		// little, and one account could fill the store with what it has ended.
		return max(s.Ended, s.Issued) + m.issuer.TokenLifetime.Milliseconds()
	}
	at, _ := s.deadline(&m.cfg.Lifetimes)
	return at
}

func (s *subject) expires(m *Manager) int64 {
	// A cutoff is remembered for as long as an authentication counts.
	at := max(m.millis(), s.Cutoff+m.skew+max(m.cfg.Lifetimes.Absolute, m.issuer.TokenLifetime).Milliseconds())
	for _, l := range s.Live {
		at = max(at, l.Until)
	}
	if s.Op != "" {
		at = max(at, s.At+m.cfg.Revocations.Config().SessionLifetime.Milliseconds())
	}
	return at
}

// save writes r where the store still has what it was made of. The error matches
// ErrConflict if it has not, and ErrStore if nobody knows.
func (m *Manager) save(ctx context.Context, r record) error {
	b, err := encodeRecord(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	at, began := r.where(), m.millis()
	var next uint64
	err = guarded("store", func() (err error) {
		next, err = m.cfg.Store.Save(ctx, at.key, b, at.revision, time.UnixMilli(r.expires(m)).Add(keepRecord))
		return err
	})
	if err == nil || at.revision != 0 { // a store that has no room for new records serves those that there are
		m.noted(ctx, began, err)
	}
	switch {
	case err == nil:
		at.revision = next
	case !errors.Is(err, ErrConflict):
		err = fmt.Errorf("%w: %w", ErrStore, err)
	}
	return err
}

// guarded turns a panic of the caller's store, publisher or hook into an error: in a goroutine
// of ours nobody else could, and the process would end. What it panicked with is not told, as
// it may be a record.
func guarded(what string, call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("the %s panicked", what)
		}
	}()
	return call()
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

// hearing is how long anyone who asked has to wait, in milliseconds, for a missing answer to be
// our fault.
const hearing = 1000

// impatient reports whether ctx ended before that.
func impatient(ctx context.Context, began, now int64) bool {
	return ctx.Err() != nil && now-began < hearing
}
