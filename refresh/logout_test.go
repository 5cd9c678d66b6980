package refresh_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A logout ends the session here and at the services at once, may be repeated, and spares all others.
func TestLogout(t *testing.T) {
	s := newSystem(t)
	a, b := s.login(t), s.login(t)
	if err := s.Logout(t.Context(), a.SessionID); err != nil {
		t.Fatal(err)
	}
	s.dead(t, a)
	s.refused(t, a, refresh.ErrEnded)
	s.accepted(t, b)
	n := len(s.events)
	if err := s.Logout(t.Context(), a.SessionID); err != nil || len(s.events) != n+1 {
		t.Errorf("ending an ended session: %v, %d events more", err, len(s.events)-n)
	}
	if err := s.Revoke(t.Context(), b.SessionID, "stolen laptop", "help desk"); err != nil {
		t.Fatal(err)
	}
	if e := s.events[len(s.events)-1]; e.Reason != "stolen laptop" || e.Actor != "help desk" || e.Kind != revoke.KindSession || e.Issuer != issuerName {
		t.Errorf("published %+v", e)
	}
	s.dead(t, b)
	// One that nobody knows is revoked for as long as any token lasts.
	if err := s.Logout(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA"); err != nil || time.Until(s.events[len(s.events)-1].Until) > s.list.Config().TokenLifetime {
		t.Errorf("%v, %+v", err, s.events[len(s.events)-1])
	}
	if err := s.Logout(t.Context(), "no session id"); err == nil {
		t.Error("any text passes for a session id")
	}
}

// A logout that the store does not take says what the store said.
func TestLogoutSaysWhyTheStoreFails(t *testing.T) {
	store := &readonly{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	g := s.login(t)
	store.on.Store(true)
	err := s.Logout(t.Context(), g.SessionID)
	if !errors.Is(err, errReadOnly) || !errors.Is(err, refresh.ErrStore) || !errors.Is(err, refresh.ErrPending) || errors.Is(err, refresh.ErrBusy) {
		t.Errorf("error %v", err)
	}
	s.dead(t, g)
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), g.SessionID); !errors.Is(err, errReadOnly) || !errors.Is(err, refresh.ErrStore) || !errors.Is(err, s.fail) {
		t.Errorf("while the bus is down, too: error %v", err)
	}
}

// Who is to be logged out is the caller's word; what cannot be is the caller's mistake, of
// neither family that a client is told of.
func TestLogoutsThatCannotBe(t *testing.T) {
	s := newSystem(t)
	many := make([]string, revoke.MaxKeep+1)
	for name, call := range map[string]func() error{
		"Logout":              func() error { return s.Logout(t.Context(), "zzz") },
		"Revoke":              func() error { return s.Revoke(t.Context(), "", "reason", "") },
		"LogoutAll":           func() error { _, err := s.LogoutAll(t.Context(), ""); return err },
		"LogoutAll, too many": func() error { _, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(many...)); return err },
		"DeleteSubject":       func() error { return s.DeleteSubject(t.Context(), "") },
	} {
		if err := call(); !errors.Is(err, refresh.ErrRequest) || errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := s.Status(); st.Logout.Mistakes["request"] != 1 || st.DeleteSubject.Mistakes["request"] != 1 || len(s.events) != 0 {
		t.Errorf("counted %v and %v, published %v", st.Logout, st.DeleteSubject, s.events)
	}
}

// A logout is no replay.
func TestLogoutsAreNoReplays(t *testing.T) {
	replays := 0
	s := newSystem(t, func(c *refresh.Config) { c.OnReplay = func(context.Context, refresh.Session) { replays++ } })
	kept, gone := s.login(t), s.login(t)
	if err := s.Logout(t.Context(), s.login(t).SessionID); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), s.login(t).SessionID, "stolen laptop", "operator"); err != nil {
		t.Fatal(err)
	}
	pending := s.login(t).SessionID
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), pending); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	s.fail = nil
	if err := s.Logout(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LogoutAll(t.Context(), gone.Subject, refresh.Keep(kept.SessionID)); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSubject(t.Context(), gone.Subject); err != nil {
		t.Fatal(err)
	}
	s.refused(t, gone, refresh.ErrEnded)
	if replays != 0 {
		t.Errorf("OnReplay was called %d times", replays)
	}
}
