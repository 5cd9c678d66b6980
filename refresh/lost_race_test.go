package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// An overtaken store lets another go first, before it writes a session.
type overtaken struct {
	refresh.Store
	first func()
}

func (o *overtaken) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if !strings.HasPrefix(key, "s.") { // the Manager's own records: it writes them when it likes
		return o.Store.Save(ctx, key, value, revision, expires)
	}
	if first := o.first; first != nil {
		o.first = nil
		first()
	}
	return o.Store.Save(ctx, key, value, revision, expires)
}

// Invariant 8: who loses the compare-and-set is no thief, also where there is no window in
// which he would be answered. Who comes after it is. What is used in the very millisecond in
// which the loser was sent away may have been used before that: nobody can tell, and a retry
// of it convicts nobody.
func TestLosingIsNoTheft(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration // the loss, the winner's token is used
		want  error
	}{
		"same millisecond": {0, refresh.ErrTooLate},
		"next millisecond": {time.Millisecond, refresh.ErrReused},
		"a second later":   {time.Second, refresh.ErrReused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &overtaken{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.HighSecurity })
				g := s.login(t)
				var next *refresh.Grant
				store.first = func() { next = s.refresh(t, g) }
				if _, err := s.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, refresh.ErrBusy) || errors.Is(err, refresh.ErrLoginAgain) {
					t.Fatalf("the loser: %v", err)
				}
				s.accepted(t, next)
				time.Sleep(c.after)
				last := s.refresh(t, next)
				time.Sleep(time.Millisecond)
				s.refused(t, next, c.want)
				if c.want == refresh.ErrReused {
					s.dead(t, last)
				} else {
					s.accepted(t, last)
					s.refresh(t, last)
				}
			})
		})
	}
}

// An unanswered store writes the next session that it is given, does not say so, and lets
// another go before it is asked what became of it.
type unanswered struct {
	refresh.Store
	next func()
}

func (u *unanswered) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := u.Store.Save(ctx, key, value, revision, expires)
	if !strings.HasPrefix(key, "s.") {
		return n, err
	}
	if next := u.next; err == nil && next != nil {
		u.next = nil
		next()
		return 0, errors.New("no answer")
	}
	return n, err
}

// A rotation that was not answered is none once the session has ended: no token is given
// out that the ending did not know. Others may have used its successor meanwhile.
func TestEndedBeforeTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *system, *refresh.Grant)
		want      error
	}{
		"logout": {func(t *testing.T, s *system, g *refresh.Grant) {
			if err := s.Logout(t.Context(), g.SessionID); err != nil {
				t.Error(err)
			}
		}, refresh.ErrEnded},
		"logout, bus down": {func(t *testing.T, s *system, g *refresh.Grant) {
			s.fail = errors.New("bus down")
			if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
				t.Error(err)
			}
			s.fail = nil
		}, refresh.ErrEnded},
		"logout everywhere": {func(t *testing.T, s *system, g *refresh.Grant) {
			if _, err := s.LogoutAll(t.Context(), g.Subject); err != nil {
				t.Error(err)
			}
		}, refresh.ErrEnded},
		"retried": {func(t *testing.T, s *system, g *refresh.Grant) { s.refresh(t, g) }, nil},
		"nothing": {func(*testing.T, *system, *refresh.Grant) {}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := &unanswered{Store: refresh.NewMemoryStore()}
			s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
			g := s.login(t)
			store.next = func() { c.meanwhile(t, s, g) }
			next, err := s.Refresh(t.Context(), request(g.RefreshToken()))
			if !errors.Is(err, c.want) || (next != nil) != (c.want == nil) {
				t.Fatalf("%v, %v; want %v", next, err, c.want)
			}
			if next != nil {
				s.accepted(t, next)
				s.refresh(t, next)
			}
		})
	}
}

// A rotation that was written and not answered is given out, also where a retry would not be.
func TestUnansweredRotationIsGivenOut(t *testing.T) {
	store := &unanswered{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.HighSecurity })
	g := s.login(t)
	store.next = func() {}
	next := s.refresh(t, g)
	if store.next != nil {
		t.Fatal("the store has answered")
	}
	s.accepted(t, next)
	s.refresh(t, next)
}
