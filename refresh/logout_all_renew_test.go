package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A beaten store answers one write of a session with an error, after somebody else has
// written.
type beaten struct {
	refresh.Store
	first func()
}

func (b *beaten) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if !strings.HasPrefix(key, "s.") {
		return b.Store.Save(ctx, key, value, revision, expires)
	}
	if first := b.first; first != nil {
		b.first = nil
		first()
		return 0, errors.New("no answer")
	}
	return b.Store.Save(ctx, key, value, revision, expires)
}

// A kept session that is ended while it gets its new secrets, by a write that is not
// answered, is over; so is one that is refreshed then.
func TestEndedWhileRenewed(t *testing.T) {
	store := &beaten{}
	s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
	end := func(sid string) func() {
		return func() {
			if err := s.Revoke(t.Context(), sid, "stolen laptop", "operator"); err != nil {
				t.Error(err)
			}
		}
	}
	g := s.login(t)
	store.first = end(g.SessionID)
	if next, err := s.LogoutAll(t.Context(), g.Subject, refresh.Keep(g.SessionID)); next != nil || err != nil {
		t.Errorf("kept: %v, %v", next, err)
	}
	g = s.login(t, func(l *refresh.Login) { l.Subject = "user-2" })
	store.first = end(g.SessionID)
	s.refused(t, g, refresh.ErrEnded)
	s.dead(t, g)
}

// A kept session that somebody ends right after the others have ended is over: it gets no new
// secrets, and nothing more is written about it.
func TestKeptIsEndedBeforeItIsRenewed(t *testing.T) {
	store := &finished{}
	s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
	kept, other := s.login(t), s.login(t)
	store.then = func() {
		if err := s.Logout(t.Context(), kept.SessionID); err != nil {
			t.Error(err)
		}
		store.writes = 0
	}
	g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(kept.SessionID))
	if g != nil || err != nil || store.writes != 0 || store.then != nil {
		t.Errorf("%v, %v, and %d writes of the session that was kept", g, err, store.writes)
	}
	for _, g := range []*refresh.Grant{kept, other} {
		s.dead(t, g)
		s.refused(t, g, refresh.ErrEnded)
	}
}

// A finished store calls then once a logout everywhere has nothing left to do in it, and counts
// the writes of sessions.
type finished struct {
	refresh.Store
	op, then func()
	writes   int
}

func (f *finished) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := f.Store.Save(ctx, key, value, revision, expires)
	switch op := strings.Contains(string(value), `"op"`); {
	case strings.HasPrefix(key, "s."):
		f.writes++
	case strings.HasPrefix(key, "u.") && op:
		f.op, f.then = f.then, nil
	case strings.HasPrefix(key, "u.") && f.op != nil:
		op := f.op
		f.op = nil
		op()
	}
	return n, err
}
