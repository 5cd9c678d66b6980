package refresh_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A caller who leaves before anybody could have answered is no outage: anyone who sends such
// calls, with a deadline of his own or by hanging up, does not keep windows open for a thief.
func TestImpatientCallsAreNoOutage(t *testing.T) {
	for _, at := range []string{"store", "application"} {
		for _, how := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(at+", "+how.Error(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var slowApp atomic.Int64
					store := &slow{Store: refresh.NewMemoryStore()}
					s := newSystem(t, func(cfg *refresh.Config) {
						cfg.Store = store
						cfg.Ask = func(ctx context.Context, _ refresh.Session) (refresh.Answer, error) {
							time.Sleep(time.Duration(slowApp.Load()))
							return refresh.Answer{}, ctx.Err()
						}
					})
					g := s.login(t)
					next := s.refresh(t, g)
					if at == "store" {
						store.delay.Store(int64(20 * time.Millisecond))
					} else {
						slowApp.Store(int64(20 * time.Millisecond))
					}
					calls := 0
					for end := time.Now().Add(11 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
						ctx, cancel := context.WithCancel(t.Context())
						if how == context.DeadlineExceeded {
							ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
						} else {
							time.AfterFunc(10*time.Millisecond, cancel)
						}
						_, err := s.Refresh(ctx, request(g.RefreshToken()))
						cancel()
						if !errors.Is(err, refresh.ErrTryAgain) || !errors.Is(err, how) {
							t.Fatalf("an impatient call: %v", err)
						}
						calls++
					}
					if calls < 10 {
						t.Fatalf("%d impatient calls", calls)
					}
					time.Sleep(3 * time.Second)
					s.refused(t, g, refresh.ErrReused)
					s.refused(t, next, refresh.ErrEnded)
				})
			})
		}
	}
}

// An unheard store writes, and answers when ctx ends.
type unheard struct {
	refresh.Store
	hangs atomic.Bool
}

func (h *unheard) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	next, err := h.Store.Save(ctx, key, value, revision, expires)
	if h.hangs.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return next, err
}

// A client that waited for a store in vain, hung up and tries again later is not convicted:
// that everybody hangs up is how an outage looks.
func TestHangUpOnAnOutageIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unheard{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
		g := s.login(t)
		store.hangs.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		if _, err := s.Refresh(ctx, request(g.RefreshToken())); !errors.Is(err, refresh.ErrTryAgain) {
			t.Fatalf("a store that hangs: %v", err)
		}
		store.hangs.Store(false)
		time.Sleep(5 * time.Second)
		s.refresh(t, s.refresh(t, g))
	})
}

// A roomless store takes no new records.
type roomless struct {
	refresh.Store
	full atomic.Bool
}

func (r *roomless) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if r.full.Load() && revision == 0 {
		return 0, errors.New("full")
	}
	return r.Store.Save(ctx, key, value, revision, expires)
}

// A store that has no room for new sessions serves those that there are: logins that fail
// keep no window open.
func TestNoRoomForLoginsIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &roomless{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
		g := s.login(t)
		next := s.refresh(t, g)
		store.full.Store(true)
		for range 15 {
			l := refresh.Login{Subject: "user-2", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
			if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrStore) {
				t.Fatalf("a login without room: %v", err)
			}
			time.Sleep(time.Second)
		}
		s.refused(t, g, refresh.ErrReused)
		s.refused(t, next, refresh.ErrEnded)
	})
}
