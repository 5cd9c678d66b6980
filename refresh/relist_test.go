package refresh_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A losing store has lost the records of subjects: an operator has deleted one that was
// corrupt, or a server whose clock is off has forgotten it.
type losing struct {
	refresh.Store
	lost atomic.Bool
}

func (l *losing) key(key string) string {
	if l.lost.Load() && strings.HasPrefix(key, "u.") {
		return key + ".again"
	}
	return key
}

func (l *losing) Load(ctx context.Context, key string) (refresh.Record, error) {
	return l.Store.Load(ctx, l.key(key))
}

func (l *losing) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	return l.Store.Save(ctx, l.key(key), value, revision, expires)
}

// A session that is in no list would survive a logout everywhere: its next refresh lists
// it again, and one that comes after the logout ends it, also when the event that said so
// is forgotten.
func TestSessionOutOfItsList(t *testing.T) {
	for name, c := range map[string]struct{ lost, used, everywhere bool }{
		"lost, then logged out":                {true, false, true},
		"lost, used, then logged out":          {true, true, true},
		"lost":                                 {true, true, false},
		"the good twin: listed and logged out": {false, true, true},
		"the good twin: listed":                {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &losing{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(cfg *refresh.Config) { cfg.Store, cfg.Lifetimes = store, refresh.Consumer })
				g := s.login(t)
				time.Sleep(time.Minute)
				store.lost.Store(c.lost)
				if c.used {
					g = s.refresh(t, g)
				}
				if list, err := s.Sessions(t.Context(), g.Subject); err != nil || c.used && len(list) != 1 {
					t.Errorf("%d sessions, %v", len(list), err)
				}
				if c.everywhere {
					if _, err := s.LogoutAll(t.Context(), g.Subject); err != nil {
						t.Fatal(err)
					}
					s.dead(t, g)
				}
				time.Sleep(3 * time.Hour) // the event is forgotten
				if c.everywhere {
					s.refused(t, g, refresh.ErrLoginAgain)
					s.refused(t, g, refresh.ErrLoginAgain)
				} else {
					s.refresh(t, g)
				}
			})
		})
	}
}

// A stale store answers one read of a subject's record with what it held before.
type stale struct {
	refresh.Store
	old  refresh.Record
	next atomic.Bool
}

func (s *stale) Load(ctx context.Context, key string) (refresh.Record, error) {
	if strings.HasPrefix(key, "u.") && s.next.CompareAndSwap(true, false) {
		return s.old, nil
	}
	return s.Store.Load(ctx, key)
}

// An old answer that does not list a session yet harms nobody: not one that was begun
// right after a logout everywhere, and not one that it kept.
func TestStaleListConvictsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &stale{Store: refresh.NewMemoryStore()}
		var key string
		s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = watching{store, func(k string) { key = k }} })
		remember := func() {
			t.Helper()
			var err error
			if store.old, err = store.Store.Load(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		kept := s.login(t)
		time.Sleep(time.Minute)
		remember()
		kept2, err := s.LogoutAll(t.Context(), kept.Subject, refresh.Keep(kept.SessionID))
		if err != nil {
			t.Fatal(err)
		}
		store.next.Store(true)
		kept = s.refresh(t, kept2)
		time.Sleep(time.Minute)
		remember()
		g := s.login(t)
		for range 2 {
			store.next.Store(true)
			g = s.refresh(t, g)
			store.next.Store(true)
			kept = s.refresh(t, kept)
		}
		if list, err := s.Sessions(t.Context(), g.Subject); err != nil || len(list) != 2 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
	})
}

// A watching store tells which records of subjects are written.
type watching struct {
	refresh.Store
	tell func(key string)
}

func (w watching) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if strings.HasPrefix(key, "u.") {
		w.tell(key)
	}
	return w.Store.Save(ctx, key, value, revision, expires)
}
