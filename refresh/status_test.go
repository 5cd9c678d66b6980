package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// counts writes down what is counted: "Refresh done", "Login login again: expired".
func counts(s refresh.ManagerStatus) map[string]uint64 {
	all := map[string]uint64{"answered again": s.AnsweredAgain, "answered late": s.AnsweredLate, "thefts": s.Thefts}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		o, ok := v.Field(i).Interface().(refresh.Outcomes)
		if !ok {
			continue
		}
		name := v.Type().Field(i).Name
		all[name+" done"] = o.Done
		for family, kinds := range map[string]map[string]uint64{"login again": o.LoginAgain, "try again": o.TryAgain, "mistake": o.Mistakes} {
			for kind, n := range kinds {
				all[name+" "+family+": "+kind] = n
			}
		}
	}
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}

// Every call of every method is counted once: in its family, and by its kind.
func TestStatusCountsEachCallOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer refresh.Answer
		var asked error
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes = refresh.Consumer
			c.Lifetimes.Idle = 2 * time.Hour
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return answer, asked }
		})
		if got := counts(s.Status()); len(got) != 0 {
			t.Errorf("before the first call: %v", got)
		}
		// expect names what a call adds, and nothing else may.
		expect := func(call func() error, names ...string) {
			t.Helper()
			want := counts(s.Status())
			err := call()
			for _, name := range names {
				want[name]++
			}
			if got := counts(s.Status()); !maps.Equal(got, want) {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
		}
		login := func(change ...func(*refresh.Login)) func() error {
			return func() error {
				l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, Scope: []string{"read"}, AuthTime: time.Now()}
				for _, c := range change {
					c(&l)
				}
				_, err := s.Login(t.Context(), l)
				return err
			}
		}
		use := func(g *refresh.Grant, change ...func(*refresh.Request)) func() error {
			return func() error {
				_, err := s.Refresh(t.Context(), request(g.RefreshToken(), change...))
				return err
			}
		}

		expect(login(), "Login done")
		expect(login(func(l *refresh.Login) { l.Subject = "" }), "Login mistake: login")
		g := s.login(t)
		time.Sleep(2*time.Hour + time.Minute)
		expect(use(g), "Refresh login again: expired")
		g = s.login(t)
		expect(use(g), "Refresh done")
		expect(use(g), "Refresh done", "answered again")
		time.Sleep(time.Hour)
		expect(use(g), "Refresh done", "answered late")
		expect(use(g, byClient("app")), "Refresh login again: client")
		expect(use(g, byClient("")), "Refresh mistake: request")
		expect(use(g, narrowedTo("admin")), "Refresh mistake: scope")
		time.Sleep(time.Hour)
		expect(use(g), "Refresh login again: reused", "thefts")
		expect(use(g), "Refresh login again: reused")
		expect(func() error {
			_, err := s.Refresh(t.Context(), request("htr1_x"))
			return err
		}, "Refresh login again: unknown")

		g = s.login(t)
		asked = errors.New("no answer")
		expect(use(g), "Refresh try again: ask")
		asked, s.store.fail = nil, errors.New("no store")
		expect(use(g), "Refresh try again: store")
		expect(login(), "Login try again: store")
		expect(func() error { _, err := s.Sessions(t.Context(), "user-1"); return err }, "Sessions try again: store")
		s.store.fail = context.Canceled
		expect(func() error {
			ctx, hangUp := context.WithCancel(t.Context())
			hangUp()
			_, err := s.Refresh(ctx, request(g.RefreshToken()))
			return err
		}, "Refresh try again: hung up")
		expect(use(g), "Refresh try again: store") // the caller is there
		s.store.fail = nil
		expect(func() error { _, err := s.Sessions(t.Context(), "user-1"); return err }, "Sessions done")

		expect(func() error {
			next, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()})
			g = next
			return err
		}, "Reauthenticate done")
		expect(func() error {
			_, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now(), Subject: "user-2"})
			return err
		}, "Reauthenticate mistake: login")
		answer.End = true
		expect(use(g), "Refresh login again: ended")
		answer.End = false

		g = s.login(t)
		expect(func() error { return s.Revoke(t.Context(), g.SessionID, strings.Repeat("x", 2000), "") }, "Revoke mistake: event")
		expect(func() error { return s.Revoke(t.Context(), g.SessionID, "stolen", "operator") }, "Revoke done")
		g = s.login(t)
		s.fail = errors.New("bus down")
		expect(func() error { return s.Logout(t.Context(), g.SessionID) }, "Logout try again: pending")
		expect(func() error { _, err := s.LogoutAll(t.Context(), "user-1"); return err }, "LogoutAll try again: pending")
		s.fail = nil
		expect(func() error { return s.Logout(t.Context(), g.SessionID) }, "Logout done")
		expect(func() error { return s.Logout(t.Context(), "x") }, "Logout mistake: request")
		expect(func() error { _, err := s.LogoutAll(t.Context(), "user-1"); return err }, "LogoutAll done")
		expect(login(func(l *refresh.Login) { l.AuthTime = time.Now().Add(-time.Hour) }), "Login login again: superseded")
		time.Sleep(time.Hour)
		g = s.login(t)
		expect(func() error { return s.LogoutToken(t.Context(), g.RefreshToken(), "app") }, "LogoutToken login again: client")
		expect(func() error { return s.LogoutToken(t.Context(), g.RefreshToken(), "") }, "LogoutToken mistake: request")
		expect(func() error { return s.LogoutToken(t.Context(), g.RefreshToken(), "web") }, "LogoutToken done")
		expect(func() error { return s.LogoutToken(t.Context(), "nonsense", "web") }, "LogoutToken done")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		expect(login(), "Login mistake: closed")
	})
}

// A replica that cannot know is told apart from a store that fails.
func TestStatusOfAStaleReplica(t *testing.T) {
	list, err := revoke.NewList(revoke.Config{}) // nobody feeds it
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, func(c *refresh.Config) { c.Revocations = list })
	s.refused(t, s.login(t), refresh.ErrTryAgain)
	if got := s.Status().Refresh.TryAgain; got["stale"] != 1 || len(got) != 1 {
		t.Errorf("%v", got)
	}
}

// What is pending shows after the next look, and when that was; so does that it is done.
func TestStatusShowsPendingWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		if p := s.Status().Pending; p != (refresh.PendingStatus{}) {
			t.Errorf("before the first look: %+v", p)
		}
		g := s.login(t)
		s.fail = errors.New("bus down")
		if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, refresh.ErrPending) {
			t.Fatal(err)
		}
		looked := func() refresh.PendingStatus {
			t.Helper()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			p := s.Status().Pending
			if age := time.Since(p.At); age < 0 || age > 2*time.Minute {
				t.Errorf("the last look was %s ago", age)
			}
			return p
		}
		if p := looked(); p.Count != 1 || p.Incomplete {
			t.Errorf("while the bus is down: %+v", p)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		if p := looked(); p.Count != 0 || p.Incomplete {
			t.Errorf("when it is up: %+v", p)
		}
		s.store.mu.Lock()
		s.store.fail = errors.New("no store")
		s.store.mu.Unlock()
		if p := looked(); !p.Incomplete {
			t.Errorf("while the store is down: %+v", p)
		}
	})
}

// A fullStore tells how full it is.
type fullStore struct {
	refresh.Store
	fill refresh.StoreFill
}

func (f *fullStore) Fill() refresh.StoreFill { return f.fill }

func TestStatusShowsHowFullTheStoreIs(t *testing.T) {
	want := refresh.StoreFill{At: time.UnixMilli(5), Bytes: 1, NewLimit: 2, MaxBytes: 3}
	s := newSystem(t, func(c *refresh.Config) { c.Store = &fullStore{c.Store, want} })
	if got := s.Status().Store; got != want {
		t.Errorf("%+v", got)
	}
	if got := newSystem(t).Status().Store; got != (refresh.StoreFill{}) {
		t.Errorf("of a store that does not tell: %+v", got)
	}
}

// A store that fell shows until the restore is declared.
func TestStatusShowsAStoreThatFell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.login(t)
		store.mu.Lock()
		backup := maps.Clone(store.records)
		store.mu.Unlock()
		time.Sleep(time.Minute)
		g = s.refresh(t, g)
		if at := s.Status().Fell; !at.IsZero() {
			t.Errorf("a sound store fell at %s", at)
		}
		time.Sleep(time.Minute)
		store.mu.Lock()
		store.records = backup
		store.mu.Unlock()
		s.refused(t, g, refresh.ErrStore)
		if at := s.Status().Fell; !at.Equal(time.Now()) {
			t.Errorf("it fell at %s, now is %s", at, time.Now())
		}
		if err := s.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		if at := s.Status().Fell; !at.IsZero() {
			t.Errorf("declared, and it fell at %s", at)
		}
	})
}

// Status may be asked while calls run, is the caller's own, prints, and reads back from JSON.
func TestStatusIsASnapshot(t *testing.T) {
	s := newSystem(t)
	const users, calls = 4, 25
	var wg sync.WaitGroup
	for u := range users {
		wg.Go(func() {
			for range calls {
				if _, err := s.Login(context.Background(), refresh.Login{Subject: fmt.Sprint(u), Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}); err != nil {
					t.Error(err)
				}
				s.Refresh(context.Background(), request("nonsense"))
			}
		})
		wg.Go(func() {
			last := uint64(0)
			for range calls {
				st := s.Status()
				if st.Login.Done < last {
					t.Errorf("%d logins, and %d before", st.Login.Done, last)
				}
				last = st.Login.Done
				st.Refresh.LoginAgain["unknown"] = 1 << 40
			}
		})
	}
	wg.Wait()
	st := s.Status()
	if want := map[string]uint64{"Login done": users * calls, "Refresh login again: unknown": users * calls}; !maps.Equal(counts(st), want) {
		t.Errorf("%v, want %v", counts(st), want)
	}
	data, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var back refresh.ManagerStatus
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, st) {
		t.Errorf("%s is read back as %+v, %v", data, back, err)
	}
	if out := fmt.Sprintf("%+v", st); !strings.Contains(out, "unknown:100") {
		t.Errorf("it prints as %s", out)
	}
}

func BenchmarkStatus(b *testing.B) {
	s := newSessions()
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		s.Status()
	}
}
