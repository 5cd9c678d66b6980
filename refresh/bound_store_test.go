package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Where nobody can know, the browser is told to try again, and nothing is changed.
func TestBoundSessionTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked error
		s := newSystem(t, func(c *refresh.Config) {
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return refresh.Answer{}, asked }
		})
		b, _ := s.bind(t)
		login := s.login(t, offering)
		registers := func(want error) {
			t.Helper()
			k := &bound{deviceKey: newDeviceKey(t)}
			if _, err := s.BindDevice(t.Context(), k.registering(login)); !errors.Is(err, want) || errors.Is(err, refresh.ErrLoginAgain) {
				t.Fatalf("a registration: %v, want %v", err, want)
			}
		}
		for _, token := range []func(*refresh.DeviceProof){func(*refresh.DeviceProof) {}, alone} {
			s.store.fail = errors.New("no store")
			s.tryAgain(t, b.next(token), refresh.ErrStore)
			s.tryAgain(t, b.next(func(p *refresh.DeviceProof) { p.Proof = "" }), refresh.ErrStore)
			registers(refresh.ErrStore)
			s.store.fail = nil
			asked = errors.New("no database")
			s.tryAgain(t, b.next(token), refresh.ErrAsk)
			registers(refresh.ErrAsk)
			asked = nil
			s.use(t, b, token)
		}
		registers(nil)
	})
	list, err := revoke.NewList(revoke.Config{}) // nobody feeds it
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, func(c *refresh.Config) { c.Revocations = list })
	k := &bound{deviceKey: newDeviceKey(t)}
	if _, err := s.BindDevice(t.Context(), k.registering(s.login(t, offering))); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, refresh.ErrTryAgain) {
		t.Errorf("with a stale replica: %v", err)
	}
}

// A write that the store has done and not confirmed is found out, and answered.
func TestBoundWriteNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unanswered{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		b, _ := s.bind(t)
		store.next = func() {}
		s.use(t, b)
		// Another came in between: which of the two was given what, the next proof tells.
		store.next = func() {
			store.next = nil
			s.challenged(t, b, b.next(alone))
			s.use(t, b)
		}
		before := *b
		if _, err := s.RefreshBound(t.Context(), before.next(alone)); !errors.As(err, new(*refresh.ChallengeError)) {
			t.Errorf("overtaken: %v", err)
		}
		s.use(t, b)
	})
}

// A store that was restored from a backup mints nothing until that is declared. What was bound
// since the backup would not be: its sessions are over then.
func TestBoundSessionAndRestoredStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newBackedUp()
		s := instances(t, store, 1)[0]
		before := s.login(t, offering)
		kept, _ := s.bind(t)
		time.Sleep(time.Minute)
		s.refresh(t, s.login(t))
		old := store.backup()
		b, _ := s.register(t, s.login(t, offering))
		time.Sleep(time.Minute)
		s.use(t, b)
		s.use(t, kept)
		time.Sleep(time.Minute)
		store.restore(old)
		s.tryAgain(t, kept.next(), refresh.ErrStore)
		if _, err := s.BindDevice(t.Context(), (&bound{deviceKey: newDeviceKey(t)}).registering(before)); !errors.Is(err, refresh.ErrStore) {
			t.Errorf("a registration: %v", err)
		}
		if err := s.DeclareRestore(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		s.unusable(t, kept.next(), refresh.ErrEnded)
		s.unusable(t, b.next(), refresh.ErrUnknown) // the backup has no such session
		time.Sleep(time.Minute)
		next, _ := s.bind(t)
		s.use(t, next)
	})
}

// An older store shows a bound session as a program of before saw it: with members that it
// does not know, one of which it must not ignore.
type olderStore struct{ refresh.Store }

const ofThisVersion = `"bound_`

func (o olderStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := o.Store.Load(ctx, key)
	r.Value = []byte(strings.ReplaceAll(string(r.Value), ofThisVersion, `"later_`))
	return r, err
}

func (o olderStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	return o.Store.Save(ctx, key, []byte(strings.ReplaceAll(string(value), `"later_`, ofThisVersion)), revision, expires)
}

// A version that knows nothing of bound sessions mints nothing for one, neither by its refresh
// token nor otherwise, convicts nobody, and ends it as ever.
func TestBoundSessionAtAnOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := refresh.NewMemoryStore()
		younger := instances(t, store, 1)[0]
		older := another(t, younger, olderStore{store})
		offer := younger.login(t, offering)
		login := older.refresh(t, offer) // an offer that nobody has taken is nothing to it
		b, first := younger.register(t, offer)
		b.token = login.RefreshToken()
		replaced := b.token
		for range 3 {
			older.refused(t, login, refresh.ErrStore)
			if _, err := older.Reauthenticate(t.Context(), first.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrStore) {
				t.Fatalf("authenticated again: %v", err)
			}
			younger.use(t, b)
			time.Sleep(time.Minute)
		}
		_, err := older.Refresh(t.Context(), request(replaced))
		if !errors.Is(err, refresh.ErrStore) {
			t.Fatalf("a used token: %v", err)
		}
		younger.use(t, b)
		if g, err := older.LogoutAll(t.Context(), "user-1", refresh.Keep(first.SessionID)); !errors.Is(err, refresh.ErrStore) || g != nil {
			t.Fatalf("kept: %v, %v", g, err)
		}
		younger.use(t, b)
		if err := older.Logout(t.Context(), first.SessionID); err != nil {
			t.Fatal(err)
		}
		younger.dead(t, first)
		_, err = younger.RefreshBound(t.Context(), b.next())
		if !errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("ended by the older one: %v", err)
		}
	})
}
