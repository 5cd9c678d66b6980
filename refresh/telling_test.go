package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A hanging store answers, once it hangs, nothing but those who give up. after is how many
// writes it still takes.
type hanging struct {
	refresh.Store
	on    atomic.Bool
	after atomic.Int32
	deaf  atomic.Bool // it does not notice that they have given up
	let   chan struct{}
}

func (h *hanging) hang(ctx context.Context) error {
	if h.deaf.Load() {
		<-h.let
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hanging) Load(ctx context.Context, key string) (refresh.Record, error) {
	if h.on.Load() && h.after.Load() <= 0 {
		return refresh.Record{}, h.hang(ctx)
	}
	return h.Store.Load(ctx, key)
}

func (h *hanging) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if h.on.Load() && h.after.Add(-1) < 0 {
		return 0, h.hang(ctx)
	}
	return h.Store.Save(ctx, key, value, revision, expires)
}

// Invariant 9: what protects does not wait for what can fail. The services are told at once
// though the store hangs, from the start or after its first write, and though the caller has
// a deadline of 50 ms or has hung up before; and the error says that not all is done.
func TestToldThoughTheStoreHangs(t *testing.T) {
	calls := map[string]struct {
		do    func(context.Context, *system, *refresh.Grant) error
		least time.Duration // until the services must know
	}{
		"Logout": {func(ctx context.Context, s *system, g *refresh.Grant) error { return s.Logout(ctx, g.SessionID) }, time.Second},
		"Revoke": {func(ctx context.Context, s *system, g *refresh.Grant) error {
			return s.Revoke(ctx, g.SessionID, "stolen", "help desk")
		}, time.Second},
		"LogoutAll": {func(ctx context.Context, s *system, g *refresh.Grant) error {
			_, err := s.LogoutAll(ctx, g.Subject)
			return err
		}, 0},
	}
	for name, call := range calls {
		for _, after := range []int32{0, 1, 100} {
			for _, caller := range []string{"patient", "with a deadline", "gone"} {
				t.Run(fmt.Sprintf("%s, store hangs after %d writes, caller %s", name, after, caller), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := &hanging{Store: refresh.NewMemoryStore()}
						bus := &strict{}
						s := newSystem(t, func(c *refresh.Config) { c.Store, c.Publisher = store, bus })
						bus.system = s
						g := s.login(t)
						store.after.Store(after)
						store.on.Store(true)
						ctx := t.Context()
						if caller != "patient" {
							deadline := 50 * time.Millisecond
							if caller == "gone" {
								deadline = -1
							}
							var cancel context.CancelFunc
							ctx, cancel = context.WithTimeout(ctx, deadline)
							defer cancel()
						}
						var failed error
						done := make(chan struct{})
						go func() {
							failed = call.do(ctx, s, g)
							close(done)
						}()
						time.Sleep(call.least + time.Millisecond)
						synctest.Wait()
						s.dead(t, g)
						began := time.Now()
						<-done
						if took := time.Since(began); took > 2*time.Minute {
							t.Errorf("it took %s", took)
						}
						if after == 100 {
							if failed != nil {
								t.Error(failed)
							}
							return
						}
						if failed == nil && after == 1 && name != "LogoutAll" {
							return // one write is all that it takes
						}
						if !errors.Is(failed, refresh.ErrTryAgain) || after == 0 && !errors.Is(failed, refresh.ErrPending) {
							t.Errorf("%v, want ErrPending", failed)
						}
						store.on.Store(false)
						if err := call.do(t.Context(), s, g); err != nil {
							t.Error(err)
						}
						s.refused(t, g, refresh.ErrEnded)
					})
				})
			}
		}
	}
}

// Nor does a store that does not even notice that nobody waits any more.
func TestToldThoughTheStoreIsDeaf(t *testing.T) {
	for _, everywhere := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			store := &hanging{Store: refresh.NewMemoryStore(), let: make(chan struct{})}
			s := newSystem(t, func(c *refresh.Config) { c.Store = store })
			g := s.login(t)
			store.deaf.Store(true)
			store.on.Store(true)
			done := make(chan error)
			go func() {
				var err error
				if everywhere {
					_, err = s.LogoutAll(t.Context(), g.Subject)
				} else {
					err = s.Logout(t.Context(), g.SessionID)
				}
				done <- err
			}()
			time.Sleep(2 * time.Second)
			s.dead(t, g)
			close(store.let)
			if err := <-done; !errors.Is(err, refresh.ErrPending) {
				t.Errorf("everywhere %t: %v", everywhere, err)
			}
		})
	}
}

// What LogoutAll tells first spares what the caller keeps, and lasts as long as a session:
// the store may never end them.
func TestToldFirstWithKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.Consumer })
		g, keep := s.login(t), s.login(t)
		store.on.Store(true)
		if kept, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID, "no session id", keep.SessionID)); kept != nil || !errors.Is(err, refresh.ErrPending) {
			t.Fatal(kept, err)
		}
		s.dead(t, g)
		s.accepted(t, keep)
		store.on.Store(false)
		s.refresh(t, keep)
		time.Sleep(29 * 24 * time.Hour)
		s.refused(t, g, refresh.ErrEnded) // nobody has called again
	})
}

// A stuck bus takes events and never says so.
type stuck struct {
	*system
	on    atomic.Bool
	calls atomic.Int32
}

func (p *stuck) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	p.calls.Add(1)
	if p.on.Load() {
		<-ctx.Done()
		return revoke.Receipt{}, ctx.Err()
	}
	return p.system.Publish(ctx, e)
}

// Nor does the store wait for the bus: within a moment none of their sessions is refreshed.
func TestEndedThoughTheBusHangs(t *testing.T) {
	for name, do := range map[string]func(*system, *refresh.Grant) error{
		"Logout": func(s *system, g *refresh.Grant) error { return s.Logout(context.Background(), g.SessionID) },
		"LogoutAll": func(s *system, g *refresh.Grant) error {
			_, err := s.LogoutAll(context.Background(), g.Subject)
			return err
		},
		"Reauthenticate": func(s *system, g *refresh.Grant) error {
			_, err := s.Reauthenticate(context.Background(), g.SessionID, refresh.Login{AuthTime: time.Now()})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bus := &stuck{}
				store := refresh.NewMemoryStore()
				s := newSystem(t, func(c *refresh.Config) { c.Store, c.Publisher = store, bus })
				bus.system = s
				g := s.login(t)
				bus.on.Store(true)
				began := time.Now()
				done := make(chan error)
				go func() { done <- do(s, g) }()
				time.Sleep(300 * time.Millisecond)
				other := newSystem(t, func(c *refresh.Config) { c.Issuer, c.Store = s.issuer, store })
				other.fail = errors.New("bus down")
				other.refused(t, g, refresh.ErrEnded)
				if err := <-done; !errors.Is(err, refresh.ErrPending) {
					t.Error(err)
				}
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("it took %s", took)
				}
				bus.on.Store(false)
				s.refused(t, g, refresh.ErrEnded)
				if _, err := s.Sessions(t.Context(), g.Subject); err != nil {
					t.Error(err)
				}
				s.dead(t, g)
			})
		})
	}
}

// A logout whose event is acknowledged at once takes one write: nothing is pending.
func TestLogoutTakesOneWrite(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	n := len(s.store.saved)
	if err := s.Logout(t.Context(), g.SessionID); err != nil {
		t.Fatal(err)
	}
	writes := 0
	for _, x := range s.store.saved[n:] {
		if strings.HasPrefix(string(x), "s.") {
			writes++
			if strings.Contains(string(x), `"pending":true`) {
				t.Error("it was recorded as pending")
			}
		}
	}
	if writes != 1 {
		t.Errorf("%d writes of the session", writes)
	}
}

// Anyone who makes up session ids fills neither the store nor the stream: no record, an event
// for one token lifetime, and no more of them than 1,000 at once and 20 a second.
func TestLogoutOfMadeUpSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g, known := s.login(t), s.login(t)
		if err := s.Logout(t.Context(), known.SessionID); err != nil {
			t.Fatal(err)
		}
		writes, n := len(s.store.saved), 0
		flood := func(name string, count int) (done int) {
			t.Helper()
			before := len(s.events)
			for range count {
				n++
				switch err := s.Logout(t.Context(), fmt.Sprintf("%021dA", n)); {
				case err == nil:
					done++
				case !errors.Is(err, refresh.ErrBusy) || !errors.Is(err, refresh.ErrTryAgain):
					t.Fatal(err)
				}
			}
			if len(s.events)-before != done {
				t.Errorf("%s: %d done, %d events", name, done, len(s.events)-before)
			}
			return done
		}
		if done := flood("at once", 6_000); done != 1000 {
			t.Errorf("at once: %d", done)
		}
		time.Sleep(10 * time.Second)
		if done := flood("later", 6_000); done != 200 {
			t.Errorf("after 10 s: %d more", done)
		}
		for _, e := range s.events[1:] {
			if life := time.Until(e.Until); life > s.list.Config().TokenLifetime {
				t.Fatalf("an event lives for %s", life)
			}
		}
		// Those of sessions that there are have no share in the bound.
		events := len(s.events)
		for range 3 {
			if err := s.Logout(t.Context(), known.SessionID); err != nil { // and nobody needs to be told again
				t.Error(err)
			}
		}
		if len(s.events) != events {
			t.Errorf("%d more events for a session that is known to be over", len(s.events)-events)
		}
		for _, x := range s.store.saved[writes:] {
			if strings.HasPrefix(string(x), "s.") {
				t.Fatalf("a record was written: %s", x)
			}
		}
		if err := s.Logout(t.Context(), g.SessionID); err != nil {
			t.Error(err)
		}
		s.dead(t, g)
	})
}

// Nor can a single session that is over be told of without end.
func TestLogoutOfAnEndedSessionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		for range 5000 {
			if err := s.Logout(t.Context(), g.SessionID); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(s.events); n < 900 || n > 1001 {
			t.Errorf("%d events", n)
		}
	})
}

// A store that has lost a session, as one that was restored from a backup has, does not keep
// its access tokens from being refused.
func TestLogoutOfASessionTheStoreHasLost(t *testing.T) {
	store := &hiding{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	g := s.login(t)
	store.on.Store(true)
	if err := s.Logout(t.Context(), g.SessionID); err != nil {
		t.Fatal(err)
	}
	s.dead(t, g)
}

// Calls at the same time share what they must and no more.
func TestLogoutsAtTheSameTime(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			var err error
			if i%2 == 0 {
				err = s.Logout(t.Context(), g.SessionID)
			} else {
				_, err = s.LogoutAll(t.Context(), g.Subject)
			}
			if err != nil && !errors.Is(err, refresh.ErrTryAgain) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.dead(t, g)
	s.refused(t, g, refresh.ErrEnded)
}

// A session that is refreshed while the services are being told of its end, before the store
// knows, is told of once more, for as long as that token lives.
func TestRefreshedWhileItsEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &overtaken{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.login(t)
		time.Sleep(time.Minute)
		// Another process, which has not heard of the event yet.
		other := newSystem(t, func(c *refresh.Config) { c.Issuer, c.Store = s.issuer, store })
		var last *refresh.Grant
		store.first = func() {
			time.Sleep(10 * time.Second)
			last = other.refresh(t, g)
		}
		if err := s.Logout(t.Context(), g.SessionID); err != nil {
			t.Fatal(err)
		}
		if n := len(s.events); n != 2 || !s.events[1].Until.Equal(s.events[0].Until.Add(10*time.Second)) {
			t.Errorf("%d events: %+v", n, s.events)
		}
		s.dead(t, last)
		other.refused(t, last, refresh.ErrEnded)
	})
}

// Where the services know of a logout everywhere and the store does not, a session that goes
// on at a process that has not heard of it ends, with that token, at one that has.
func TestRefreshedAfterItsEndWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &readonly{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.login(t)
		other := newSystem(t, func(c *refresh.Config) { c.Issuer, c.Store = s.issuer, store })
		time.Sleep(time.Minute)
		store.on.Store(true)
		if _, err := s.LogoutAll(t.Context(), g.Subject); !errors.Is(err, refresh.ErrPending) {
			t.Fatal(err)
		}
		store.on.Store(false)
		time.Sleep(5 * time.Second)
		last := other.refresh(t, g)
		s.accepted(t, last) // dated after the cutoff
		s.refused(t, last, refresh.ErrEnded)
		s.dead(t, last)
	})
}

// A logout everywhere finds a bus that is down once for all of its sessions, not for each of
// those that have an event of their own.
func TestLogoutAllTriesABusThatIsDownOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 200
		var s *system
		bus := &slowToFail{}
		s = newSystem(t, func(c *refresh.Config) { c.Publisher, c.MaxSessions = bus, sessions })
		var grants []*refresh.Grant
		for range sessions {
			grants = append(grants, s.login(t))
		}
		for _, g := range grants {
			if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
				t.Fatal(err)
			}
		}
		bus.calls.Store(0)
		bus.takes.Store(int64(time.Second))
		began := time.Now()
		if _, err := s.LogoutAll(t.Context(), "user-1"); !errors.Is(err, refresh.ErrPending) {
			t.Error(err)
		}
		if n, took := bus.calls.Load(), time.Since(began); n > sessions/2 || took > 5*time.Second {
			t.Errorf("the bus was called %d times in %s", n, took)
		}
	})
}

// A slowToFail bus takes its time to fail.
type slowToFail struct{ calls, takes atomic.Int64 }

func (b *slowToFail) Publish(context.Context, revoke.Event) (revoke.Receipt, error) {
	b.calls.Add(1)
	time.Sleep(time.Duration(b.takes.Load()))
	return revoke.Receipt{}, errDown
}
