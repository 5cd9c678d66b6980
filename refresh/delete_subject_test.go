package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What only records of the person to be forgotten hold.
var personal = []string{"person-7", "shop-app", "acme", "Ada's phone", "192.0.2.77", "favourite", "moved away", "operator-3"}

func (s *system) loginPerson(t *testing.T) *refresh.Grant {
	t.Helper()
	return s.login(t, func(l *refresh.Login) {
		l.Subject, l.Client, l.Tenant = personal[0], personal[1], personal[2]
		l.Device = refresh.Device{Label: personal[3], Address: personal[4]}
		l.Claims = map[string]any{"colour": personal[5]}
	})
}

// traces returns what the store holds of the person.
func (k *keyed) traces(t *testing.T) (found []string) {
	t.Helper()
	for _, text := range personal {
		for _, key := range k.holding(t, "", text) {
			found = append(found, text+" in "+key)
		}
	}
	slices.Sort(found)
	return found
}

func eraseSystem(t *testing.T, change ...func(*refresh.Config)) (*system, *keyed) {
	t.Helper()
	store := newKeyed()
	s := newSystem(t, append([]func(*refresh.Config){func(c *refresh.Config) { c.Store = store }}, change...)...)
	return s, store
}

func TestDeleteSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := eraseSystem(t)
		other := s.login(t)
		var grants []*refresh.Grant
		for range 3 {
			grants = append(grants, s.loginPerson(t))
		}
		grants[2] = s.refresh(t, grants[2], byClient(personal[1]))
		// One of them is over, and the services do not know it.
		s.fail = errors.New("bus down")
		if err := s.Revoke(t.Context(), grants[1].SessionID, personal[6], personal[7]); !errors.Is(err, refresh.ErrPending) {
			t.Fatal(err)
		}
		s.fail = nil
		if n := len(store.traces(t)); n < 3*6 {
			t.Fatalf("%d traces of the person: the test looks for nothing", n)
		}
		before := time.Now()
		time.Sleep(time.Millisecond)
		if err := s.DeleteSubject(t.Context(), personal[0]); err != nil {
			t.Fatal(err)
		}
		if left := store.traces(t); len(left) != 0 {
			t.Errorf("left in the store:\n%s", strings.Join(left, "\n"))
		}
		for _, g := range grants {
			s.dead(t, g)
			s.refused(t, g, refresh.ErrEnded, byClient(personal[1]))
		}
		if left, err := s.Sessions(t.Context(), personal[0]); err != nil || len(left) != 0 {
			t.Errorf("sessions left: %v, %v", left, err)
		}
		l := refresh.Login{Subject: personal[0], Client: "web", Audience: []string{"api"}, AuthTime: before}
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) {
			t.Errorf("a login that was under way: %v", err)
		}
		if left := store.traces(t); len(left) != 0 {
			t.Errorf("left by a refused login:\n%s", strings.Join(left, "\n"))
		}
		s.accepted(t, other)
		s.refresh(t, other)

		// Again, and of nobody: nothing else happens.
		for _, sub := range []string{personal[0], "nobody"} {
			if err := s.DeleteSubject(t.Context(), sub); err != nil {
				t.Errorf("%s: %v", sub, err)
			}
		}
		if got := s.Status().DeleteSubject.Done; got != 3 {
			t.Errorf("counted %d calls", got)
		}

		// Anyone who comes back as a new person is welcome.
		time.Sleep(time.Minute)
		again := s.loginPerson(t)
		s.refresh(t, again, byClient(personal[1]))
	})
}

func TestDeleteSubjectRefuses(t *testing.T) {
	s, _ := eraseSystem(t)
	for _, sub := range []string{"", strings.Repeat("x", 513), "caf\xe9"} {
		if err := s.DeleteSubject(t.Context(), sub); err == nil || errors.Is(err, refresh.ErrTryAgain) || !strings.Contains(err.Error(), "deleting a subject") {
			t.Errorf("%.9q: %v", sub, err)
		}
	}
	if len(s.events) != 0 {
		t.Errorf("published %v", s.events)
	}
}

// Wherever the process crashes, another finishes what the store has heard of, or the caller
// does who calls again, as the error says. Nothing of the person is left either way.
func TestDeleteSubjectCrashes(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, again := range []bool{false, true} {
			crashes, begun := 0, 0
			for step, done := 0, false; !done; step++ {
				synctest.Test(t, func(t *testing.T) {
					shared := newKeyed()
					crashing := &breaking{Store: shared, left: 1 << 30, after: after}
					one := newSystem(t, func(c *refresh.Config) { c.Store = crashing })
					grants := []*refresh.Grant{one.loginPerson(t), one.loginPerson(t)}
					crashing.left = step
					err := one.DeleteSubject(t.Context(), personal[0])
					if !crashing.dead {
						done = true
					}
					if err != nil && !errors.Is(err, refresh.ErrTryAgain) {
						t.Fatalf("step %d, after %t: %v", step, after, err)
					}
					crashed := crashing.dead
					crashing.dead = true // with what it would do later
					if cerr := one.Close(); cerr != nil {
						t.Fatal(cerr)
					}
					two := newSystem(t, takeOver(one, shared))
					heard := err == nil || len(shared.holding(t, "u.", `"op"`)) > 0 || len(shared.holding(t, "s.", personal[0])) == 0
					if crashed {
						crashes++
					}
					switch {
					case again:
						if err := two.DeleteSubject(t.Context(), personal[0]); err != nil {
							t.Fatalf("step %d, after %t: again: %v", step, after, err)
						}
					case heard:
						begun++
						time.Sleep(6 * time.Minute)
						synctest.Wait()
					case crashed:
						return // the caller was told so
					}
					if left := shared.traces(t); len(left) != 0 {
						t.Errorf("step %d, after %t, again %t, error %v: left:\n%s", step, after, again, err, strings.Join(left, "\n"))
					}
					for _, g := range grants {
						one.dead(t, g)
						two.refused(t, g, refresh.ErrEnded, byClient(personal[1]))
					}
				})
				if t.Failed() {
					return
				}
			}
			if crashes < 10 || !again && begun < 6 {
				t.Errorf("after %t, again %t: %d crashes, %d of them finished by another: the test crashes too little", after, again, crashes, begun)
			}
		}
	}
}

// A bus that is down is no reason to keep a name: it is told of later, and nothing is left
// then.
func TestDeleteSubjectWhileTheBusIsDown(t *testing.T) {
	for _, takenOver := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken over %t", takenOver), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := eraseSystem(t)
				g, over := s.loginPerson(t), s.loginPerson(t)
				s.fail = errors.New("bus down")
				if err := s.Revoke(t.Context(), over.SessionID, personal[6], personal[7]); !errors.Is(err, refresh.ErrPending) {
					t.Fatal(err)
				}
				if err := s.DeleteSubject(t.Context(), personal[0]); !errors.Is(err, refresh.ErrPending) {
					t.Fatal(err)
				}
				s.refused(t, g, refresh.ErrEnded, byClient(personal[1]))
				if left := store.holding(t, "s.", personal[0]); len(left) != 1 { // the one that has an event of its own
					t.Errorf("waiting for the bus: %v", left)
				}
				if takenOver { // by an ordinary logout, which has the same work to finish
					if _, err := s.LogoutAll(t.Context(), personal[0]); !errors.Is(err, refresh.ErrPending) {
						t.Fatal(err)
					}
				}
				s.mu.Lock()
				s.fail = nil
				s.mu.Unlock()
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				s.dead(t, g)
				if left := store.traces(t); len(left) != 0 {
					t.Errorf("left in the store:\n%s", strings.Join(left, "\n"))
				}
			})
		})
	}
}

// A backward store shows the first value of each session's record, once it is told to, so
// many times more.
type backward struct {
	refresh.Store
	mu    sync.Mutex
	first map[string]refresh.Record
	times int
}

func (b *backward) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := b.Store.Load(ctx, key)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || !strings.HasPrefix(key, "s.") {
		return r, err
	}
	if old, ok := b.first[key]; ok && b.times > 0 && old.Revision != r.Revision {
		b.times--
		return old, nil
	}
	if b.first[key].Value == nil {
		b.first[key] = r
	}
	return r, err
}

// A store that is behind shows sessions that are over as live, and its answer is not taken
// for the truth: the deletion is not done until the store shows that it is.
func TestDeleteSubjectInAStoreThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newKeyed()
		behind := &backward{Store: store, first: map[string]refresh.Record{}}
		s := newSystem(t, func(c *refresh.Config) { c.Store = behind })
		g := s.loginPerson(t)
		s.refused(t, g, refresh.ErrClient, byClient("another")) // reads the record
		behind.times = 1
		if err := s.DeleteSubject(t.Context(), personal[0]); !errors.Is(err, refresh.ErrTryAgain) {
			t.Fatalf("error %v; %d old answers were not given", err, behind.times)
		}
		if len(store.holding(t, "s.", personal[0])) == 0 {
			t.Fatal("nothing is left to do: the test shows nothing")
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if left := store.traces(t); len(left) != 0 {
			t.Errorf("left in the store:\n%s", strings.Join(left, "\n"))
		}
		s.dead(t, g)
	})
}

// What the store keeps of a deleted subject is gone when it is of no use any more.
func TestDeletedSubjectsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := eraseSystem(t)
		s.loginPerson(t)
		called := time.Now()
		if err := s.DeleteSubject(t.Context(), personal[0]); err != nil {
			t.Fatal(err)
		}
		const margin = 5*time.Minute + 2*time.Second // keepRecord, and MaxSkew
		for _, x := range []struct {
			after    time.Duration // the call
			sessions int
			subjects int
		}{
			{time.Hour - time.Minute, 1, 1},
			{time.Hour + margin + time.Second, 0, 1},
			{24*time.Hour - time.Minute, 0, 1},
			{24*time.Hour + margin + time.Second, 0, 0},
		} {
			time.Sleep(time.Until(called.Add(x.after)))
			if n, m := len(store.holding(t, "s.", "")), len(store.holding(t, "u.", "")); n != x.sessions || m != x.subjects {
				t.Errorf("after %s: %d records of sessions and %d of subjects, want %d and %d", x.after, n, m, x.sessions, x.subjects)
			}
		}
	})
}

// The services are told before the store is touched, and with what ends tokens and logins
// alike.
func TestDeleteSubjectTells(t *testing.T) {
	s, _ := eraseSystem(t)
	s.loginPerson(t)
	if err := s.DeleteSubject(t.Context(), personal[0]); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 1 || s.events[0].Kind != revoke.KindSubject || s.events[0].Value != personal[0] || len(s.events[0].Keep) != 0 || s.events[0].Reason != "subject deleted" || s.events[0].Actor != "" {
		t.Errorf("published %+v", s.events)
	}
}

// A vanishing store has forgotten each session as soon as its end is written.
type vanishing struct {
	refresh.Store
	on        atomic.Bool
	gone      sync.Map // keys
	forgotten atomic.Int64
}

func (v *vanishing) Load(ctx context.Context, key string) (refresh.Record, error) {
	if _, ok := v.gone.Load(key); ok {
		v.forgotten.Add(1)
		return refresh.Record{}, refresh.ErrNotFound
	}
	return v.Store.Load(ctx, key)
}

func (v *vanishing) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := v.Store.Save(ctx, key, value, revision, expires)
	if err == nil && v.on.Load() && strings.Contains(string(value), `"ended"`) {
		v.gone.Store(key, true)
	}
	return n, err
}

// What the store has forgotten by itself need not be made to forget.
func TestDeleteSubjectThatTheStoreForgets(t *testing.T) {
	store := &vanishing{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	g := s.loginPerson(t)
	store.on.Store(true)
	if err := s.DeleteSubject(t.Context(), personal[0]); err != nil {
		t.Error(err)
	}
	if store.forgotten.Load() == 0 {
		t.Error("no session was looked for in vain: the test shows nothing")
	}
	s.dead(t, g)
	s.refused(t, g, refresh.ErrLoginAgain)
}

// Anyone who finishes what was not noted as done writes nothing of the sessions that tell of nobody
// any more.
func TestDeleteSubjectAgainWritesNothing(t *testing.T) {
	memory := newKeyed()
	store := &noting{Store: memory}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	s.loginPerson(t)
	var again func() error
	again = func() error { store.first.Store(&again); return errDown }
	store.first.Store(&again)
	if err := s.DeleteSubject(t.Context(), personal[0]); err != nil {
		t.Fatal(err)
	}
	store.first.Store(nil)
	if left := memory.holding(t, "s.", personal[0]); len(left) != 0 || len(memory.holding(t, "u.", `"op"`)) != 1 {
		t.Fatalf("left, or noted as done: %q", left)
	}
	store.sessions.Store(0)
	if list, err := s.Sessions(t.Context(), personal[0]); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	if n := store.sessions.Load(); n != 0 || len(memory.holding(t, "u.", `"op"`)) != 0 {
		t.Errorf("%d writes of sessions that were forgotten before", n)
	}
}
