package refresh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// Invariant 5: a password change ends all but what is kept, which gets new
// secrets; the next login passes.
func TestLogoutAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		kept, also, lost := s.login(t), s.login(t), s.login(t)
		other := s.login(t, func(l *refresh.Login) { l.Subject = "user-2" })
		time.Sleep(time.Minute)
		before := time.Now()
		g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(kept.SessionID, also.SessionID), refresh.Because("password change"), refresh.By("user"))
		if err != nil {
			t.Fatal(err)
		}
		s.dead(t, lost)
		s.refused(t, lost, refresh.ErrEnded)
		for _, g := range []*refresh.Grant{kept, also, other, g} {
			s.accepted(t, g)
		}
		if g.SessionID != kept.SessionID || g.RefreshToken() == kept.RefreshToken() {
			t.Fatalf("the kept session's grant is %v", g)
		}
		s.refused(t, kept, refresh.ErrBusy) // its new secrets are on their way
		s.refresh(t, also)
		g = s.refresh(t, g)
		time.Sleep(time.Minute)
		s.refused(t, kept, refresh.ErrUnknown) // dead, and no weapon
		s.refresh(t, g)
		if e := s.events[len(s.events)-1]; e.Reason != "password change" || e.Actor != "user" || !slices.Equal(e.Keep, []string{kept.SessionID, also.SessionID}) {
			t.Errorf("published %+v", e)
		}

		// Authenticated before, logged in after: too late.
		_, err = s.Login(t.Context(), refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: before})
		if !errors.Is(err, refresh.ErrSuperseded) {
			t.Errorf("a login authenticated before the password change: %v", err)
		}
		s.accepted(t, s.login(t))

		// At the very time nobody can tell; the password can.
		if g, err := s.LogoutAll(t.Context(), "user-1"); g != nil || err != nil {
			t.Fatal(g, err)
		}
		l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now().Add(time.Millisecond)}
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) || !strings.Contains(err.Error(), "Recheck") {
			t.Errorf("within the clocks' difference: %v, want ErrSuperseded naming the field Recheck", err)
		}
		early := l
		early.AuthTime = time.Now().Add(-time.Second)
		if _, err := s.Login(t.Context(), early); !errors.Is(err, refresh.ErrSuperseded) || strings.Contains(err.Error(), "Recheck") {
			t.Errorf("authenticated before: %v, want ErrSuperseded and nothing that Recheck could mend", err)
		}
		wrong := errors.New("wrong password")
		l.Recheck = func(context.Context) error { return wrong }
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) || !errors.Is(err, wrong) {
			t.Errorf("with what was the password: %v", err)
		}
		l.Recheck = func(context.Context) error { return nil }
		g, err = s.Login(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		s.accepted(t, g)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 1 || list[0].ID != g.SessionID {
			t.Errorf("sessions %v, %v", list, err)
		}
	})
}

// A noting store has its turn when a logout everywhere is to be noted as done.
type noting struct {
	refresh.Store
	first    atomic.Pointer[func() error] // nil once it was called
	sessions atomic.Int64                 // writes of them
}

func (n *noting) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if strings.HasPrefix(key, "s.") {
		n.sessions.Add(1)
	}
	if strings.HasPrefix(key, "u.") && !strings.Contains(string(value), `"op"`) {
		if first := n.first.Swap(nil); first != nil {
			if err := (*first)(); err != nil {
				return 0, err
			}
		}
	}
	return n.Store.Save(ctx, key, value, revision, expires)
}

// That a logout everywhere is done is noted at the second try if need be, and never of another
// one that has begun meanwhile.
func TestLogoutAllIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &noting{}
		memory := newKeyed()
		store.Store = memory
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		pending := func() int { return len(memory.holding(t, "u.", `"op"`)) }

		s.login(t)
		fails := func() error { return errDown }
		store.first.Store(&fails)
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil || store.first.Load() != nil || pending() != 0 {
			t.Errorf("%v, %d logouts are not noted", err, pending())
		}

		g := s.login(t, func(l *refresh.Login) { l.Subject = "user-2" })
		meanwhile := func() error {
			time.Sleep(5 * time.Second)
			late := s.login(t, func(l *refresh.Login) { l.Subject = "user-2" })
			s.fail = errDown
			_, err := s.LogoutAll(t.Context(), "user-2")
			s.fail = nil
			if !errors.Is(err, refresh.ErrPending) {
				t.Error(err)
			}
			s.refused(t, late, refresh.ErrEnded)
			return nil
		}
		store.first.Store(&meanwhile)
		if _, err := s.LogoutAll(t.Context(), "user-2"); err != nil || store.first.Load() != nil {
			t.Error(err)
		}
		s.dead(t, g)
		if n := pending(); n != 1 {
			t.Errorf("%d logouts are not noted as done, want the one that nobody was told of", n)
		}
	})
}
