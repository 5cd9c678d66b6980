package refresh_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A behindStore answers so many reads of sessions with the record before the present one, as a
// replica does that is behind. Writes are decided by what it really has.
type behindStore struct {
	refresh.Store
	mu     sync.Mutex
	before map[string]refresh.Record
	behind int // reads to come that are answered so
}

func newBehindStore() *behindStore {
	return &behindStore{Store: refresh.NewMemoryStore(), before: map[string]refresh.Record{}}
}

// lag has the next n reads answered late.
func (l *behindStore) lag(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.behind = n
}

func (l *behindStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.before[key]; ok && l.behind > 0 {
		l.behind--
		return r, nil
	}
	return l.Store.Load(ctx, key)
}

func (l *behindStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, failed := l.Store.Load(ctx, key)
	next, err := l.Store.Save(ctx, key, value, revision, expires)
	if err == nil && failed == nil && strings.HasPrefix(key, "s.") {
		l.before[key] = old
	}
	return next, err
}

// An old answer of the store logs nobody out, however often it comes: the client is answered
// when the store has caught up, and told to try again while it has not.
func TestStoreThatLagsLogsNobodyOut(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, s *system) (use func() error){
		"a session that was bound a moment ago": func(t *testing.T, s *system) func() error {
			b, _ := s.bind(t)
			return func() error {
				_, err := s.RefreshBound(t.Context(), b.next())
				return err
			}
		},
		"a session that was kept a moment ago": func(t *testing.T, s *system) func() error {
			kept, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(s.login(t).SessionID))
			if err != nil {
				t.Fatal(err)
			}
			return func() error {
				_, err := s.Refresh(t.Context(), request(kept.RefreshToken()))
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, reads := range []int{1, 2, 5} {
				store := newBehindStore()
				s := newSystem(t, func(c *refresh.Config) { c.Store = store })
				use := begin(t, s)
				store.lag(reads)
				if err := use(); err != nil {
					t.Errorf("%d old answers: %v", reads, err)
				}
			}
			store := newBehindStore()
			s := newSystem(t, func(c *refresh.Config) { c.Store = store })
			use := begin(t, s)
			store.lag(1000)
			if err := use(); !errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
				t.Errorf("old answers only: %v", err)
			}
			store.lag(0)
			if err := use(); err != nil {
				t.Errorf("when it has caught up: %v", err)
			}
		})
	}
}
