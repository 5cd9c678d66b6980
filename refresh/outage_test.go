package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A slow Store answers reads late.
type slow struct {
	refresh.Store
	delay atomic.Int64 // a time.Duration
}

func (s *slow) Load(ctx context.Context, key string) (refresh.Record, error) {
	time.Sleep(time.Duration(s.delay.Load()))
	return s.Store.Load(ctx, key)
}

// Invariant 8, from the honest client's side: anyone who retries within the window is not
// taken for a thief because the store, whose leader has died, takes longer than it.
func TestRetryDuringOutage(t *testing.T) {
	for _, c := range []struct {
		name    string
		retries time.Duration // after the first use
		want    error
	}{
		{"within the window", 5 * time.Second, nil},
		{"after it", 13 * time.Second, refresh.ErrReused},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slow{Store: refresh.NewMemoryStore()}
				s := newSystem(t, func(cfg *refresh.Config) { cfg.Store = store })
				g := s.login(t)
				s.refresh(t, g) // its answer is lost
				time.Sleep(c.retries)
				store.delay.Store(int64(15 * time.Second))
				if c.want != nil {
					s.refused(t, g, c.want)
					return
				}
				next := s.refresh(t, g)
				store.delay.Store(0)
				s.refresh(t, next)
			})
		})
	}
}

// A failing store fails while it is down.
type failing struct {
	refresh.Store
	down atomic.Bool
}

var errDown = errors.New("down")

func (f *failing) Load(ctx context.Context, key string) (refresh.Record, error) {
	if f.down.Load() {
		return refresh.Record{}, errDown
	}
	return f.Store.Load(ctx, key)
}

func (f *failing) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if f.down.Load() {
		return 0, errDown
	}
	return f.Store.Save(ctx, key, value, revision, expires)
}

// Anyone who is told to try again is never convicted for it: the time in which the store, the
// application or the denylist could not answer does not count against the window, up to five
// minutes. After that nobody can tell a retry from a theft, and nothing is done.
func TestOutageDoesNotCount(t *testing.T) {
	for name, set := range map[string]func(o *outageParts, down bool){
		"store":       func(o *outageParts, down bool) { o.store.down.Store(down) },
		"application": func(o *outageParts, down bool) { o.app.Store(down) },
		"denylist":    func(o *outageParts, down bool) { o.stale.Store(down) },
		"each in turn": func(o *outageParts, down bool) {
			o.turn++
			o.store.down.Store(down && o.turn%3 == 0)
			o.app.Store(down && o.turn%3 == 1)
			o.stale.Store(down && o.turn%3 == 2)
		},
	} {
		for _, c := range []struct {
			name   string
			outage time.Duration
			sleeps time.Duration // of the client, once it is over
			want   error
		}{
			{"15 s", 15 * time.Second, 0, nil},
			{"4 min", 4 * time.Minute, 0, nil},
			{"6 min", 6 * time.Minute, 0, refresh.ErrTooLate},
			{"50 min", 50 * time.Minute, 0, refresh.ErrTooLate},
			{"15 s, and a client that sleeps for 1 min", 15 * time.Second, time.Minute, refresh.ErrTooLate},
			{"15 s, and a client that sleeps for 10 min", 15 * time.Second, 10 * time.Minute, refresh.ErrReused},
		} {
			if c.outage > 6*time.Minute && name != "store" {
				continue
			}
			t.Run(name+", "+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newOutageParts(t)
					one := o.system(t)
					two := newSystem(t, func(cfg *refresh.Config) { takeOver(one, o.store)(cfg); cfg.Ask = o.ask })
					two.Manager, one.Manager = one.Manager, two.Manager // the one that rotates is not the one that fails
					g := one.login(t)
					next := one.refresh(t, g) // its answer is lost
					time.Sleep(9 * time.Second)
					for end := time.Now().Add(c.outage); time.Now().Before(end); time.Sleep(1500 * time.Millisecond) {
						set(o, true)
						_, err := two.Refresh(t.Context(), request(g.RefreshToken()))
						if errors.Is(err, refresh.ErrTooLate) && time.Until(end) < c.outage-5*time.Minute {
							break
						}
						if !errors.Is(err, refresh.ErrTryAgain) {
							t.Fatalf("%s before the end of the outage: %v", time.Until(end), err)
						}
					}
					set(o, false)
					o.store.down.Store(false)
					o.app.Store(false)
					o.stale.Store(false)
					time.Sleep(time.Second + c.sleeps)
					for _, s := range []*system{one, two, one} { // whichever instance is asked
						if c.want != nil {
							s.refused(t, g, c.want)
							continue
						}
						if again := s.refresh(t, g); again.RefreshToken() != next.RefreshToken() {
							t.Fatal("another successor")
						}
					}
					if c.want == refresh.ErrReused {
						one.refused(t, next, refresh.ErrEnded)
						return
					}
					next = two.refresh(t, next) // the session is as it was
					time.Sleep(20 * time.Minute)
					one.refused(t, g, refresh.ErrReused) // and a thief is one later on
					one.refused(t, next, refresh.ErrEnded)
				})
			})
		}
	}
}

type outageParts struct {
	store      *failing
	app, stale atomic.Bool
	turn       int
}

func newOutageParts(*testing.T) *outageParts {
	return &outageParts{store: &failing{Store: refresh.NewMemoryStore()}}
}

// ask stands for both: the Manager notes what is of ErrTryAgain and not of the store.
func (o *outageParts) ask(context.Context, refresh.Session) (refresh.Answer, error) {
	switch {
	case o.app.Load():
		return refresh.Answer{}, errDown
	case o.stale.Load():
		return refresh.Answer{}, revoke.ErrStale
	}
	return refresh.Answer{}, nil
}

func (o *outageParts) system(t *testing.T) *system {
	return newSystem(t, func(cfg *refresh.Config) { cfg.Store, cfg.Ask = o.store, o.ask })
}

// Where there is no window a lost race is told to try again, and not convicted when it
// does.
func TestLoserIsNotConvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &overtaken{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.HighSecurity })
		g := s.login(t)
		var next *refresh.Grant
		store.first = func() { next = s.refresh(t, g) }
		s.refused(t, g, refresh.ErrBusy)
		time.Sleep(2 * time.Second)
		s.refused(t, g, refresh.ErrTooLate)
		next = s.refresh(t, next)
		time.Sleep(10 * time.Minute)
		s.refused(t, g, refresh.ErrReused)
		s.refused(t, next, refresh.ErrEnded)
	})
}

// Nor is a client convicted whose rotation the store did not confirm.
func TestUnconfirmedIsNotConvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: refresh.NewMemoryStore()}
		mute := &silent{Store: store, store: store}
		s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = mute, refresh.HighSecurity })
		g := s.login(t)
		mute.on.Store(true)
		s.refused(t, g, refresh.ErrStore)
		time.Sleep(time.Second)
		store.down.Store(false)
		time.Sleep(time.Second)
		s.refused(t, g, refresh.ErrTooLate)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 1 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
	})
}

// A silent store does a write of a session and goes down before it says so.
type silent struct {
	refresh.Store
	store *failing
	on    atomic.Bool
}

func (s *silent) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := s.Store.Save(ctx, key, value, revision, expires)
	if err == nil && strings.HasPrefix(key, "s.") && s.on.CompareAndSwap(true, false) {
		s.store.down.Store(true)
		return 0, errDown
	}
	return n, err
}

// A full store takes no new records. It counts the attempts to tell of outages.
type full struct {
	failing
	on    atomic.Bool
	tries atomic.Int64
}

func (f *full) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if strings.HasPrefix(key, "o.") {
		f.tries.Add(1)
	}
	if f.on.Load() && revision == 0 {
		return 0, errors.New("no room")
	}
	return f.failing.Save(ctx, key, value, revision, expires)
}

// An outage is told once; one that nobody could be told of within an hour is of no interest
// any more.
func TestOutagesAreToldOnce(t *testing.T) {
	for _, noRoom := range []bool{false, true} {
		t.Run(fmt.Sprintf("no room %t", noRoom), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &full{failing: failing{Store: refresh.NewMemoryStore()}}
				s := newSystem(t, func(c *refresh.Config) { c.Store = store })
				g := s.login(t)
				store.on.Store(noRoom)
				store.down.Store(true)
				for range 3 {
					s.refused(t, g, refresh.ErrStore)
					time.Sleep(100 * time.Millisecond)
				}
				store.down.Store(false)
				time.Sleep(59 * time.Minute)
				if n := store.tries.Load(); noRoom && n < 1000 || !noRoom && n != 1 {
					t.Errorf("%d attempts within the hour", n)
				}
				time.Sleep(2 * time.Minute)
				store.on.Store(false)
				tried := store.tries.Load()
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := store.tries.Load(); n != tried {
					t.Errorf("%d attempts after it", n-tried)
				}
			})
		})
	}
}
