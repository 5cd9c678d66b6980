package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A keyed store remembers what keys were written.
type keyed struct {
	refresh.Store
	mu   sync.Mutex
	keys map[string]bool
}

func newKeyed() *keyed { return &keyed{Store: refresh.NewMemoryStore(), keys: map[string]bool{}} }

func (k *keyed) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	k.mu.Lock()
	k.keys[key] = true
	k.mu.Unlock()
	return k.Store.Save(ctx, key, value, revision, expires)
}

// holding returns the keys of a kind of record that hold text now.
func (k *keyed) holding(t *testing.T, kind, text string) (found []string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.keys {
		if !strings.HasPrefix(key, kind) {
			continue
		}
		if r, err := k.Load(t.Context(), key); err == nil && strings.Contains(string(r.Value), text) {
			found = append(found, key)
		}
	}
	return found
}

// What is over and could not be published is published by a Manager that runs, though the
// user never returns, the process that left it pending has ended, and nobody calls.
func TestPendingOfAUserWhoNeverReturns(t *testing.T) {
	for name, c := range map[string]struct {
		lifetimes refresh.Lifetimes
		do        func(*testing.T, *system, *refresh.Grant) error
	}{
		"logout": {refresh.Web, func(t *testing.T, s *system, g *refresh.Grant) error { return s.Logout(t.Context(), g.SessionID) }},
		"logout everywhere": {refresh.Web, func(t *testing.T, s *system, g *refresh.Grant) error {
			_, err := s.LogoutAll(t.Context(), g.Subject)
			return err
		}},
		"theft": {refresh.HighSecurity, func(t *testing.T, s *system, g *refresh.Grant) error {
			s.refresh(t, g)
			_, err := s.Refresh(t.Context(), refresh.Request{Token: g.RefreshToken(), Client: "web"})
			return err
		}},
	} {
		for _, down := range []bool{true, false} {
			for _, who := range []string{"itself", "another"} {
				t.Run(fmt.Sprintf("%s, bus down %t, finished by %s", name, down, who), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						store := newKeyed()
						one := newSystem(t, func(c2 *refresh.Config) { c2.Store, c2.Lifetimes = store, c.lifetimes })
						g := one.login(t)
						if down {
							one.fail = errors.New("bus down")
						}
						if err := c.do(t, one, g); errors.Is(err, refresh.ErrPending) != down {
							t.Fatal(err)
						}
						if !down {
							one.dead(t, g)
							if list := store.holding(t, "p.", `"work"`); len(list) > 0 && name != "theft" {
								t.Errorf("%d lists name work that nobody has left", len(list))
							}
						}
						finisher := one
						if who == "another" {
							if err := one.Close(); err != nil {
								t.Fatal(err)
							}
							finisher = newSystem(t, takeOver(one, store), func(c2 *refresh.Config) { c2.Lifetimes = c.lifetimes })
						}
						if down {
							time.Sleep(3 * time.Minute)
							one.accepted(t, g)
						}
						one.mu.Lock()
						one.fail = nil
						one.mu.Unlock()
						time.Sleep(2 * time.Minute)
						synctest.Wait()
						one.dead(t, g)
						time.Sleep(5 * time.Minute) // and nothing is left to be looked at
						synctest.Wait()
						for kind, text := range map[string]string{"s.": `"pending"`, "u.": `"op"`, "p.": `"work"`} {
							if list := store.holding(t, kind, text); len(list) > 0 {
								t.Errorf("%d records with %s", len(list), text)
							}
						}
						if err := errors.Join(finisher.Close(), finisher.Close()); err != nil {
							t.Error(err)
						}
					})
				})
			}
		}
	}
}

// Wherever the process crashes while the bus is down, nothing that it has left pending stays
// so for ever.
func TestNothingStaysPendingAfterACrash(t *testing.T) {
	crashes := 0
	for name, do := range map[string]func(*system, *refresh.Grant) error{
		"logout": func(s *system, g *refresh.Grant) error { return s.Logout(context.Background(), g.SessionID) },
		"logout everywhere": func(s *system, g *refresh.Grant) error {
			_, err := s.LogoutAll(context.Background(), g.Subject)
			return err
		},
	} {
		for _, after := range []bool{false, true} {
			for step := range 12 {
				synctest.Test(t, func(t *testing.T) {
					shared := newKeyed()
					crashing := &breaking{Store: shared, left: 1 << 30, after: after}
					one := newSystem(t, func(c *refresh.Config) { c.Store = crashing })
					g := one.login(t)
					one.fail = errors.New("bus down")
					crashing.left = step
					if err := do(one, g); err == nil {
						t.Fatal("it was told of while the bus was down")
					}
					if crashing.dead {
						crashes++
					}
					if err := one.Close(); err != nil {
						t.Fatal(err)
					}
					one.fail = nil
					newSystem(t, takeOver(one, shared))
					time.Sleep(6 * time.Minute)
					synctest.Wait()
					for kind, text := range map[string]string{"s.": `"pending"`, "u.": `"op"`, "p.": `"work"`} {
						if list := shared.holding(t, kind, text); len(list) > 0 {
							t.Errorf("%s, step %d, after %t: %d records with %s", name, step, after, len(list), text)
						}
					}
				})
			}
		}
	}
	if crashes < 16 {
		t.Errorf("%d crashes", crashes)
	}
}

// What can never be finished keeps nothing else from it.
func TestPendingBehindAStuckOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		bad := s.login(t)
		var good []*refresh.Grant
		for i := range 20 {
			good = append(good, s.login(t, func(l *refresh.Login) { l.Subject = fmt.Sprint("user-", i) }))
		}
		s.fail = errors.New("bus down")
		for _, g := range append(good, bad) {
			if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
				t.Fatal(err)
			}
		}
		s.spoil(t, bad)
		time.Sleep(5 * time.Minute) // looks in vain
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, g := range good {
			s.dead(t, g)
		}
	})
}

// The lists are bounded: a logout whose name they have no room for is pending as ever, and
// finished by the next call that comes upon it.
func TestFullListsOfPendingWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newKeyed()
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		s.fail = errors.New("bus down")
		long := strings.Repeat("<", 500) // six bytes each in JSON
		for i := range 500 {
			if _, err := s.LogoutAll(t.Context(), fmt.Sprint(long, i)); !errors.Is(err, refresh.ErrPending) {
				t.Fatal(err)
			}
		}
		if n := len(store.holding(t, "p.", long[:3])) + len(store.holding(t, "p.", `\u003c`)); n == 0 {
			t.Error("no list names anything")
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(s.events); n < 100 || n > 499 {
			t.Errorf("%d of 500 were finished: what lists hold is not bounded, or they hold nothing", n)
		}
		if _, err := s.LogoutAll(t.Context(), fmt.Sprint(long, 499)); err != nil {
			t.Error(err)
		}
	})
}

// Close does not wait for a bus that hangs.
func TestCloseWhileTheBusHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &stuck{}
		s := newSystem(t, func(c *refresh.Config) { c.Publisher = bus })
		bus.system = s
		g := s.login(t)
		bus.on.Store(true)
		if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
			t.Fatal(err)
		}
		for called := bus.calls.Load(); bus.calls.Load() == called; { // until a look is under way
			time.Sleep(time.Second)
		}
		began := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("Close took %s", took)
		}
	})
}

// Looking for work writes each list once, so that there is a record to ask for, and an idle
// Manager writes nothing more.
func TestIdleListsAreNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		writes := func() (n int) {
			s.store.mu.Lock()
			defer s.store.mu.Unlock()
			for _, x := range s.store.saved {
				if strings.HasPrefix(string(x), "p.") {
					n++
				}
			}
			return n
		}
		time.Sleep(2 * time.Minute)
		first := writes()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := writes() - first; first == 0 || n != 0 {
			t.Errorf("%d writes of lists at first, and %d more", first, n)
		}
	})
}

// Invariant 9: a publishing that fails is heard, recorded, and finished by the next call that comes
// upon it.
func TestPending(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	down := errors.New("bus down")
	s.fail = down
	if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) || !errors.Is(err, refresh.ErrTryAgain) || !errors.Is(err, down) {
		t.Fatal(err)
	}
	s.accepted(t, g) // so far
	s.fail = nil
	s.refused(t, g, refresh.ErrEnded)
	s.dead(t, g)

	keep, other := s.login(t), s.login(t)
	s.fail = down
	if _, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(keep.SessionID)); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	s.refused(t, other, refresh.ErrEnded)
	s.fail = nil
	if _, err := s.Sessions(t.Context(), "user-1"); err != nil {
		t.Fatal(err)
	}
	s.dead(t, other)
	s.accepted(t, keep)

	// A thief cannot keep it from being told by hanging up.
	s = newSystem(t, func(c *refresh.Config) { c.Lifetimes = refresh.HighSecurity })
	g = s.login(t)
	next := s.refresh(t, g)
	ctx, cancel := context.WithCancel(t.Context())
	s.store.Store = cancelling{s.store.Store, cancel}
	if _, err := s.Refresh(ctx, request(g.RefreshToken())); !errors.Is(err, refresh.ErrReused) {
		t.Fatal(err)
	}
	s.dead(t, next)
}

// cancelling hangs up at the first write.
type cancelling struct {
	refresh.Store
	cancel func()
}

func (c cancelling) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	c.cancel()
	return c.Store.Save(ctx, key, value, revision, expires)
}
