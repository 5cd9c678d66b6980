package refresh_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
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

// A backedUp store can be restored, revisions and all, as a stream of NATS can.
type backedUp struct {
	mu       sync.Mutex
	records  map[string]refresh.Record
	revision uint64
	old      map[string]refresh.Record // what a server that is behind answers, if it does
	fail     error
}

func newBackedUp() *backedUp { return &backedUp{records: map[string]refresh.Record{}} }

func (b *backedUp) Load(_ context.Context, key string) (refresh.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.records
	if b.old != nil {
		from = b.old
	}
	r, ok := from[key]
	switch {
	case b.fail != nil:
		return refresh.Record{}, b.fail
	case !ok:
		return refresh.Record{}, refresh.ErrNotFound
	}
	return refresh.Record{Value: bytes.Clone(r.Value), Revision: r.Revision}, nil
}

func (b *backedUp) Save(_ context.Context, key string, value []byte, revision uint64, _ time.Time) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.fail != nil:
		return 0, b.fail
	case b.records[key].Revision != revision:
		return 0, refresh.ErrConflict
	}
	b.revision++
	b.records[key] = refresh.Record{Value: bytes.Clone(value), Revision: b.revision}
	return b.revision, nil
}

// A backup is what the store was.
type backup struct {
	records  map[string]refresh.Record
	revision uint64
	at       time.Time
}

func (b *backedUp) backup() backup {
	b.mu.Lock()
	defer b.mu.Unlock()
	return backup{maps.Clone(b.records), b.revision, time.Now()}
}

func (b *backedUp) restore(from backup) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records, b.revision = maps.Clone(from.records), from.revision
}

// instances are Managers on one store, which share a denylist and its bus.
func instances(t *testing.T, store refresh.Store, n int, change ...func(*refresh.Config)) []*system {
	first := newSystem(t, append(change, func(c *refresh.Config) { c.Store = store })...)
	all := []*system{first}
	for range n - 1 {
		all = append(all, another(t, first, store, change...))
	}
	return all
}

// another is one more instance, as one that is started later.
func another(t *testing.T, first *system, store refresh.Store, change ...func(*refresh.Config)) *system {
	t.Helper()
	s := &system{store: first.store, list: first.list, issuer: first.issuer, verifier: first.verifier}
	cfg := refresh.Config{Issuer: first.issuer, Store: store, Revocations: first.list, Publisher: first, Lifetimes: refresh.Web}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if s.Manager, err = refresh.NewManager(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func waits(t *testing.T, call string, err error) {
	t.Helper()
	if !errors.Is(err, refresh.ErrStore) || errors.Is(err, refresh.ErrLoginAgain) {
		t.Errorf("%s: %v, want %v", call, err, refresh.ErrStore)
	}
}

func loginOf(subject string, authenticated time.Time) refresh.Login {
	return refresh.Login{Subject: subject, Client: "web", Audience: []string{"api"}, AuthTime: authenticated}
}

// A store restored from a backup brings sessions back that were logged out, ended by a
// password change or convicted since, and makes every honest client's token a replay. What was
// running notices, and nothing is minted and nobody convicted until the restore is
// declared; then what had begun before the backup is over, on every instance, and what has
// begun since goes on.
func TestRestoredStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		var replays []string
		var log bytes.Buffer
		change := func(c *refresh.Config) {
			c.OnReplay = func(_ context.Context, x refresh.Session) { replays = append(replays, x.ID) }
			c.Lifetimes, c.Logger = refresh.Consumer, slog.New(slog.NewTextHandler(&log, nil))
		}
		all := instances(t, store, 3, change)
		a, b, c := all[0], all[1], all[2]
		honest, loggedOut, everywhere, stolen := a.login(t), b.login(t), c.login(t, func(l *refresh.Login) { l.Subject = "user-2" }), a.login(t)
		time.Sleep(time.Minute)
		b.refresh(t, a.refresh(t, stolen)) // by somebody
		time.Sleep(time.Minute)
		honest = b.refresh(t, honest)
		time.Sleep(time.Hour)
		taken := store.backup()

		time.Sleep(time.Hour)
		honest = c.refresh(t, honest)
		if err := a.Logout(t.Context(), loggedOut.SessionID); err != nil {
			t.Fatal(err)
		}
		authenticated := time.Now()
		time.Sleep(time.Minute)
		if _, err := b.LogoutAll(t.Context(), "user-2"); err != nil {
			t.Fatal(err)
		}
		a.refused(t, stolen, refresh.ErrReused)
		replays = nil
		time.Sleep(24 * time.Hour) // the denylist forgets what no token needs any more
		honest = a.refresh(t, honest)
		for _, s := range all {
			if _, err := s.Login(t.Context(), loginOf("user-9", time.Now())); err != nil {
				t.Fatal(err)
			}
		}

		store.fail = errors.New("the stream is gone")
		for _, s := range all[:2] { // c notices nothing of the outage
			_, err := s.Login(t.Context(), loginOf("user-1", time.Now()))
			waits(t, "without a store", err)
		}
		store.fail = nil
		store.restore(taken)
		c.refused(t, honest, refresh.ErrStore) // its token would be a replay
		for i, s := range append(all, another(t, a, store, change)) {
			for _, g := range []*refresh.Grant{honest, loggedOut, everywhere, stolen} {
				s.refused(t, g, refresh.ErrStore)
			}
			_, err := s.Login(t.Context(), loginOf("user-2", authenticated))
			waits(t, "login", err)
			_, err = s.Reauthenticate(t.Context(), loggedOut.SessionID, refresh.Login{AuthTime: time.Now()})
			waits(t, "reauthenticate", err)
			if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) == 0 {
				t.Errorf("instance %d lists %v, %v", i, list, err)
			}
		}
		if err := b.Logout(t.Context(), stolen.SessionID); err != nil { // as ever
			t.Error(err)
		}
		if n := strings.Count(log.String(), "has lost what it had acknowledged"); n == 0 || n > 4 {
			t.Errorf("said %d times", n)
		}

		if err := a.DeclareRestore(t.Context(), time.Now().Add(time.Hour)); err == nil {
			t.Error("a backup of the future")
		}
		if err := b.DeclareRestore(t.Context(), taken.at); err != nil {
			t.Fatal(err)
		}
		all = append(all, another(t, a, store, change))
		for i, s := range all {
			for name, g := range map[string]*refresh.Grant{"honest": honest, "logged out": loggedOut, "everywhere": everywhere, "stolen": stolen} {
				if _, err := s.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, refresh.ErrLoginAgain) || errors.Is(err, refresh.ErrReused) {
					t.Errorf("instance %d, %s: %v", i, name, err)
				}
			}
			if _, err := s.Login(t.Context(), loginOf("user-2", taken.at)); !errors.Is(err, refresh.ErrSuperseded) {
				t.Errorf("instance %d: a login that was authenticated before the backup: %v", i, err)
			}
			if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
				t.Errorf("instance %d lists %v, %v", i, list, err)
			}
		}
		if len(replays) != 0 {
			t.Errorf("convicted: %q", replays)
		}
		fresh := a.login(t)
		for range 20 { // and it goes on so
			for _, s := range all {
				time.Sleep(7 * time.Second)
				fresh = s.refresh(t, fresh)
			}
		}
	})
}

// Each use that could mint waits for the declaration: the first one after the restore, too.
func TestRestoredStoreMintsNothing(t *testing.T) {
	for name, use := range map[string]func(*system, *refresh.Grant) (*refresh.Grant, error){
		"login": func(s *system, _ *refresh.Grant) (*refresh.Grant, error) {
			return s.Login(context.Background(), loginOf("user-3", time.Now()))
		},
		"refresh": func(s *system, g *refresh.Grant) (*refresh.Grant, error) {
			return s.Refresh(context.Background(), request(g.RefreshToken()))
		},
		"reauthenticate": func(s *system, g *refresh.Grant) (*refresh.Grant, error) {
			return s.Reauthenticate(context.Background(), g.SessionID, refresh.Login{AuthTime: time.Now()})
		},
		"keep": func(s *system, g *refresh.Grant) (*refresh.Grant, error) {
			return s.LogoutAll(context.Background(), "user-1", refresh.Keep(g.SessionID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newBackedUp()
				all := instances(t, store, 2)
				a, b := all[0], all[1]
				g := a.login(t)
				time.Sleep(time.Minute)
				g = b.refresh(t, g)
				taken := store.backup()
				time.Sleep(time.Minute)
				a.login(t)
				b.login(t)
				time.Sleep(time.Minute)
				store.restore(taken)
				got, err := use(a, g)
				if got != nil {
					t.Error("a token was minted")
				}
				waits(t, name, err)
				if err := b.DeclareRestore(t.Context(), time.Time{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				switch got, err := use(a, g); {
				case name == "login" && err != nil:
					t.Error(err)
				case name == "keep" && (got != nil || err != nil):
					t.Errorf("%v, %v", got, err)
				case name == "refresh", name == "reauthenticate":
					if !errors.Is(err, refresh.ErrEnded) {
						t.Error(err)
					}
				}
				time.Sleep(5 * time.Second)
				fresh := b.login(t)
				a.refresh(t, fresh)
			})
		})
	}
}

// An answer that is merely old, as a deposed leader gives, is no restore.
func TestOldAnswersAreNoRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		all := instances(t, store, 2)
		a, b := all[0], all[1]
		g := a.login(t)
		old := store.backup().records
		for range 5 {
			time.Sleep(time.Minute)
			g = b.refresh(t, g)
			store.old = old
			if _, err := a.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, refresh.ErrTryAgain) {
				t.Errorf("by an old answer: %v", err)
			}
			store.old = nil
			g = a.refresh(t, g)
		}
	})
}

// A restore that is followed by another, of the same backup, is found out and declared
// again; the first declaration is in neither.
func TestRestoredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		all := instances(t, store, 2)
		a, b := all[0], all[1]
		g := a.login(t)
		time.Sleep(time.Minute)
		taken := store.backup()
		for range 3 {
			time.Sleep(time.Minute)
			for _, s := range all {
				s.login(t)
			}
			time.Sleep(time.Minute)
			store.restore(taken)
			b.refused(t, g, refresh.ErrStore)
			a.refused(t, g, refresh.ErrStore)
			if err := a.DeclareRestore(t.Context(), taken.at); err != nil {
				t.Fatal(err)
			}
			b.refused(t, g, refresh.ErrEnded)
			a.login(t)
			b.login(t)
		}
		// A bucket that is made anew is one that has lost everything.
		time.Sleep(time.Minute)
		store.restore(backup{})
		store.records = map[string]refresh.Record{}
		b.refused(t, g, refresh.ErrStore)
		if err := b.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		a.refresh(t, b.login(t))
	})
}

// Where no instance lived through the restore, the declaration alone ends what it has
// brought back; sessions that have begun since the backup's time go on.
func TestRestoreNobodyNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		first := newSystem(t, func(c *refresh.Config) { c.Store, c.Lifetimes = store, refresh.Consumer })
		old := first.login(t)
		taken := store.backup()
		time.Sleep(time.Minute)
		if err := first.Logout(t.Context(), old.SessionID); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		store.restore(taken)
		s := another(t, first, store, func(c *refresh.Config) { c.Lifetimes = refresh.Consumer })
		other := another(t, first, store, func(c *refresh.Config) { c.Lifetimes = refresh.Consumer })
		old = s.refresh(t, old) // it lives again
		since := s.login(t)
		other.refresh(t, other.login(t))
		if err := s.DeclareRestore(t.Context(), taken.at); err != nil {
			t.Fatal(err)
		}
		other.refused(t, old, refresh.ErrEnded)
		s.refused(t, old, refresh.ErrEnded)
		other.refresh(t, since)
	})
}

// The table of what an instance can be told of the store's own record.
func TestEpochRecords(t *testing.T) {
	for _, bad := range []string{``, `{}`, `{"v":2,"epoch":1,"count":1,"at":1}`, `{"v":1,"epoch":-1,"count":1,"at":1}`, `{"v":1,"epoch":null,"count":1,"at":1}`, `{"v":1,"epoch":1,"count":-1,"at":1}`,
		`{"v":1,"epoch":1,"count":1,"at":1,"must":["x"]}`, `{"v":1,"epoch":1,"count":1,"at":99999999999999999}`, `{"v":1,"epoch":1,"count":1,"at":1,"fell":1}`, `{"v":1,"epoch":1,"count":1,"at":1,"boundary":"x"}`} {
		synctest.Test(t, func(t *testing.T) {
			store := &edited{Store: refresh.NewMemoryStore()}
			s := newSystem(t, func(c *refresh.Config) { c.Store = store })
			g := s.login(t)
			time.Sleep(time.Minute)
			store.edit = func(key string, value []byte) []byte {
				if key[0] == 'r' {
					return []byte(bad)
				}
				return value
			}
			s.refused(t, g, refresh.ErrStore)
			if err := s.Logout(t.Context(), g.SessionID); err != nil {
				t.Errorf("%s: logout: %v", bad, err)
			}
			if !slices.ContainsFunc(s.events, func(e revoke.Event) bool { return e.Value == g.SessionID }) {
				t.Errorf("%s: not published", bad)
			}
		})
	}
}

// A restore that the store does not write down is not declared.
func TestDeclaredRestoreThatIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &readonly{Store: newBackedUp()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.login(t)
		store.on.Store(true)
		if err := s.DeclareRestore(t.Context(), time.Time{}); !errors.Is(err, errReadOnly) || !errors.Is(err, refresh.ErrStore) {
			t.Errorf("declared: %v", err)
		}
		store.on.Store(false)
		g = s.refresh(t, g)
		if err := s.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Error(err)
		}
		s.refused(t, g, refresh.ErrEnded)
	})
}

// A store that works is asked whether it fell once in a while, and one that has failed before
// anything is minted.
func TestStoreIsAskedWhetherItFell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newBackedUp()
		store := &asked{Store: memory}
		all := instances(t, store, 2)
		a, b := all[0], all[1]
		g := a.login(t)
		asked := store.asked.Load()
		for range 5 {
			g = a.refresh(t, g)
		}
		if n := store.asked.Load() - asked; n != 0 {
			t.Errorf("asked %d times for 5 refreshes in the same moment", n)
		}
		taken := memory.backup()
		time.Sleep(time.Minute)
		g = b.refresh(t, g)
		a.login(t)
		memory.fail = errors.New("the stream is gone")
		a.refused(t, g, refresh.ErrStore)
		memory.fail = nil
		memory.restore(taken)
		a.refused(t, g, refresh.ErrStore)
	})
}

// An asked store counts who asks for its own record.
type asked struct {
	refresh.Store
	asked atomic.Int64
}

func (s *asked) Load(ctx context.Context, key string) (refresh.Record, error) {
	if strings.HasPrefix(key, "r.") {
		s.asked.Add(1)
	}
	return s.Store.Load(ctx, key)
}

// That the store fell is said once a minute.
func TestFallenStoreIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := newBackedUp()
		all := instances(t, store, 2, func(c *refresh.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		g := all[0].login(t)
		taken := store.backup()
		time.Sleep(time.Minute)
		g = all[1].refresh(t, g)
		all[0].login(t)
		store.restore(taken)
		time.Sleep(10 * time.Second)
		for i, x := range []struct {
			after time.Duration
			said  int
		}{{0, 1}, {0, 1}, {time.Minute, 1}, {time.Nanosecond, 2}, {time.Minute, 2}, {time.Nanosecond, 3}} {
			time.Sleep(x.after)
			all[0].refused(t, g, refresh.ErrStore)
			if n := strings.Count(log.String(), "has lost what it had acknowledged"); n != x.said {
				t.Errorf("step %d: said %d times, want %d", i, n, x.said)
			}
		}
	})
}

// A mute store does not write its own record while it is on.
type mute struct {
	refresh.Store
	on atomic.Bool
}

func (m *mute) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if m.on.Load() && strings.HasPrefix(key, "r.") {
		return 0, errDown
	}
	return m.Store.Save(ctx, key, value, revision, expires)
}

// A store that only fails to write that it still stands is good enough for once; one that fails
// to write that it fell mints nothing.
func TestOwnRecordIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := newBackedUp()
		store := &mute{Store: memory}
		all := instances(t, store, 2)
		g := all[0].login(t)
		taken := memory.backup()
		time.Sleep(time.Hour)
		g = all[1].refresh(t, g)
		time.Sleep(time.Minute)
		g = all[0].refresh(t, g)
		time.Sleep(time.Minute)
		store.on.Store(true)
		g = all[0].refresh(t, g)
		memory.restore(taken)
		time.Sleep(10 * time.Second)
		for range 2 {
			all[0].refused(t, g, refresh.ErrStore)
		}
		store.on.Store(false)
		for _, s := range all {
			s.refused(t, g, refresh.ErrStore)
		}
	})
}
