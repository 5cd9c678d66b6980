package refresh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// Cases N88 to N90, rows K06, K10 and K14, R10.
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
	if e := s.events[len(s.events)-1]; e.Reason != "stolen laptop" || e.Actor != "help desk" || e.Kind != revoke.Session || e.Issuer != issuerName {
		t.Errorf("published %+v", e)
	}
	s.dead(t, b)
	// One that nobody knows is revoked for as long as any session lasts.
	if err := s.Logout(t.Context(), "AAAAAAAAAAAAAAAAAAAAAA"); err != nil || !s.events[len(s.events)-1].Until.IsZero() {
		t.Errorf("%v, %+v", err, s.events[len(s.events)-1])
	}
	if err := s.Logout(t.Context(), "no session id"); err == nil {
		t.Error("any text passes for a session id")
	}
}

// Invariant 9: a publishing that fails is heard, recorded, and finished by whoever comes
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
	if _, err := s.Refresh(ctx, g.RefreshToken()); !errors.Is(err, refresh.ErrReplayed) {
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

// Row R10, invariant 5: a password change ends all but what is kept, which gets new
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

// A ban published by anyone, past every Manager, stops refreshing; a login after it
// passes although the cutoff lies ahead.
func TestBan(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	ban := revoke.Event{Issuer: issuerName, Kind: revoke.Subject, Value: "user-1", Before: time.Now().Add(time.Second)}
	if err := s.list.Apply(revoke.Now(), ban); err != nil {
		t.Fatal(err)
	}
	s.refused(t, g, refresh.ErrEnded)
	s.refused(t, g, refresh.ErrEnded) // in the store, too
	next := s.login(t)
	if c := s.accepted(t, next); !c.IssuedAt().After(ban.Before) {
		t.Errorf("issued at %s, banned until %s", c.IssuedAt(), ban.Before)
	}
	s.accepted(t, s.refresh(t, next))
}

// An Issuer that writes whole seconds: a login right after a logout everywhere gets a
// token that passes, if by the next second.
func TestWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond) // into a second
		ring, err := token.NewEphemeralKeyring(token.KeyringConfig{Algorithm: token.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: issuerName, Keys: ring, WholeSeconds: true})
		if err != nil {
			t.Fatal(err)
		}
		s := newSystem(t, func(c *refresh.Config) { c.Issuer = issuer })
		if s.verifier, err = token.NewVerifier(token.VerifierConfig{
			Issuer: issuerName, Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: s.list,
		}); err != nil {
			t.Fatal(err)
		}
		old := s.login(t)
		time.Sleep(100 * time.Millisecond)
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Fatal(err)
		}
		s.dead(t, old)
		time.Sleep(100 * time.Millisecond)
		g := s.login(t, func(l *refresh.Login) { l.Recheck = func(context.Context) error { return nil } })
		if c := s.accepted(t, g); c.IssuedAt().Nanosecond() != 0 {
			t.Errorf("issued at %s", c.IssuedAt())
		}
		s.accepted(t, s.refresh(t, g))
		time.Sleep(time.Minute)
		s.accepted(t, s.refresh(t, s.refresh(t, s.login(t))))
	})
}
