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
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
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

// A ban published by anyone, past every Manager, stops refreshing; a login after it
// passes although the cutoff lies ahead.
func TestBan(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	ban := revoke.Event{Issuer: issuerName, Kind: revoke.KindSubject, Value: "user-1", Before: time.Now().Add(time.Second)}
	if err := s.list.Apply(revoke.Now(), ban); err != nil {
		t.Fatal(err)
	}
	s.refused(t, g, refresh.ErrEnded)
	s.refused(t, g, refresh.ErrEnded) // in the store, too
	next := s.login(t)
	if c := s.accepted(t, next); !c.MintedAt().After(ban.Before) || c.IssuedAt().After(time.Now()) {
		t.Errorf("iat %s, hyt_at %s, banned until %s", c.IssuedAt(), c.MintedAt(), ban.Before)
	}
	s.accepted(t, s.refresh(t, next))
}

// A cutoff that anyone has published, past every Manager, ends the logins that were
// authenticated before it, as a logout everywhere does; one that was authenticated after it
// waits until its token may be dated past the cutoff, and passes at once (invariant 5).
func TestLoginAgainstTheReplicasCutoffs(t *testing.T) {
	for _, skew := range []time.Duration{500 * time.Millisecond, 2 * time.Second, 10 * time.Second} {
		for kind, value := range map[revoke.Kind]string{revoke.KindSubject: "user-1", revoke.KindClient: "web", revoke.KindTenant: "acme", revoke.KindIssuer: ""} {
			t.Run(kind.String()+" "+skew.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSystemOf(t, revoke.Config{Local: true, MaxSkew: skew, MaxStaleness: time.Minute})
					began := time.Now()
					time.Sleep(time.Millisecond)
					if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: kind, Value: value}); err != nil {
						t.Fatal(err)
					}
					cutoff := time.Now()
					l := refresh.Login{Subject: "user-1", Client: "web", Tenant: "acme", Audience: []string{"api"}}
					asked := 0
					recheck := func(context.Context) error { asked++; return nil }
					for _, x := range []struct {
						name    string
						auth    time.Time
						recheck bool
						want    error
					}{
						{"before", began, true, refresh.ErrSuperseded},
						{"at the same millisecond", cutoff, true, refresh.ErrSuperseded},
						{"too near to tell", cutoff.Add(time.Millisecond), false, refresh.ErrSuperseded},
						{"too near to tell, asked", cutoff.Add(time.Millisecond), true, nil},
						{"nearly too near", cutoff.Add(skew), false, refresh.ErrSuperseded},
						{"surely after", cutoff.Add(skew + time.Millisecond), false, nil},
					} {
						l.AuthTime, l.Recheck = x.auth, nil
						if x.recheck {
							l.Recheck = recheck
						}
						asked = 0
						before := time.Now()
						g, err := s.Login(t.Context(), l)
						if !errors.Is(err, x.want) || err == nil != (x.want == nil) {
							t.Fatalf("%s: %v, want %v", x.name, err, x.want)
						}
						if waited := time.Since(before); waited > 2*skew+10*time.Millisecond || x.want != nil && (waited != 0 || asked != 0) {
							t.Errorf("%s: waited for %s, asked %d times", x.name, waited, asked)
						}
						if err != nil {
							continue
						}
						if c := s.accepted(t, g); !c.MintedAt().After(cutoff.Add(2*skew)) || c.MintedAt().After(time.Now().Add(skew)) || c.IssuedAt().After(time.Now()) {
							t.Errorf("%s: iat %s, hyt_at %s, cutoff %s, now %s", x.name, c.IssuedAt(), c.MintedAt(), cutoff, time.Now())
						}
						if x.recheck != (asked > 0) {
							t.Errorf("%s: asked %d times", x.name, asked)
						}
						s.accepted(t, s.refresh(t, g))
					}
					// A caller that hangs up is not waited for.
					if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: kind, Value: value}); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), skew/2)
					defer cancel()
					l.AuthTime, l.Recheck = time.Now().Add(time.Millisecond), recheck
					if _, err := s.Login(ctx, l); !errors.Is(err, refresh.ErrTryAgain) || !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("hung up: %v", err)
					}
				})
			})
		}
	}
}

// The Issuer and the List must mean one MaxSkew.
func TestManagerRefusesAnotherMaxSkew(t *testing.T) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	for _, skew := range []time.Duration{0, time.Second, 2 * time.Second} {
		issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring, MaxSkew: skew})
		if err != nil {
			t.Fatal(err)
		}
		list, err := revoke.NewList(revoke.Config{Local: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list})
		if good := skew != time.Second; (err == nil) != good || err != nil && !strings.Contains(err.Error(), "MaxSkew of 1s") {
			t.Errorf("Issuer's MaxSkew %s: %v", skew, err)
		}
		if err == nil {
			_ = m.Close()
		}
	}
}

// iat in whole seconds: a login right after a logout everywhere gets a token that passes
// at once.
func TestWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond) // into a second
		ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring})
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

// A kept session that somebody ends right after the others have ended is over: it gets no new
// secrets, and nothing more is written about it.
func TestKeptIsEndedBeforeItIsRenewed(t *testing.T) {
	store := &finished{}
	s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
	kept, other := s.login(t), s.login(t)
	store.then = func() {
		if err := s.Logout(t.Context(), kept.SessionID); err != nil {
			t.Error(err)
		}
		store.writes = 0
	}
	g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(kept.SessionID))
	if g != nil || err != nil || store.writes != 0 || store.then != nil {
		t.Errorf("%v, %v, and %d writes of the session that was kept", g, err, store.writes)
	}
	for _, g := range []*refresh.Grant{kept, other} {
		s.dead(t, g)
		s.refused(t, g, refresh.ErrEnded)
	}
}

// A finished store calls then once a logout everywhere has nothing left to do in it, and counts
// the writes of sessions.
type finished struct {
	refresh.Store
	op, then func()
	writes   int
}

func (f *finished) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := f.Store.Save(ctx, key, value, revision, expires)
	switch op := strings.Contains(string(value), `"op"`); {
	case strings.HasPrefix(key, "s."):
		f.writes++
	case strings.HasPrefix(key, "u.") && op:
		f.op, f.then = f.then, nil
	case strings.HasPrefix(key, "u.") && f.op != nil:
		op := f.op
		f.op = nil
		op()
	}
	return n, err
}

// Who was authenticated in the very millisecond of a logout everywhere is logged out with
// the rest, whatever a check after it says.
func TestAuthenticatedAtTheCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		s.login(t)
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Fatal(err)
		}
		l := refresh.Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Recheck: func(context.Context) error { return nil },
		}
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) {
			t.Errorf("at the cutoff: %v", err)
		}
		time.Sleep(time.Millisecond)
		l.AuthTime = time.Now()
		if _, err := s.Login(t.Context(), l); err != nil {
			t.Errorf("a millisecond later: %v", err)
		}
	})
}

// A logout everywhere that comes between a login's check and its writing has it check
// again: the password may be another now.
func TestRecheckAfterEachLogout(t *testing.T) {
	s := newSystem(t)
	everywhere := func() {
		if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Error(err)
		}
	}
	everywhere()
	checks := 0
	good := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now().Add(time.Second)}
	good.Recheck = func(context.Context) error {
		if checks++; checks == 2 {
			return errors.New("another password")
		}
		everywhere()
		return nil
	}
	if _, err := s.Login(t.Context(), good); !errors.Is(err, refresh.ErrSuperseded) || checks != 2 {
		t.Errorf("%v after %d checks", err, checks)
	}
	checks = 0
	good.AuthTime = time.Now().Add(time.Second)
	good.Recheck = func(context.Context) error { checks++; return nil }
	if _, err := s.Login(t.Context(), good); err != nil || checks != 1 {
		t.Errorf("the good twin: %v after %d checks", err, checks)
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

// A login right after a cutoff waits no longer than its token needs, and not a millisecond less:
// the token is not dated further ahead than clocks may differ.
func TestLoginWaitsToTheMillisecond(t *testing.T) {
	const skew = 500 * time.Millisecond
	for late := -3 * time.Millisecond; late <= 3*time.Millisecond; late += time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := newSystemOf(t, revoke.Config{Local: true, MaxSkew: skew, MaxStaleness: time.Minute})
			if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: revoke.KindSubject, Value: "user-1"}); err != nil {
				t.Fatal(err)
			}
			cutoff := time.Now()
			time.Sleep(skew + late)
			g := s.login(t, func(l *refresh.Login) { l.Recheck = func(context.Context) error { return nil } })
			if c := s.accepted(t, g); c.MintedAt().After(time.Now().Add(skew)) || c.MintedAt().Before(cutoff.Add(2*skew)) {
				t.Errorf("%s after the cutoff: hyt_at is %s ahead of the clock, %s after the cutoff", skew+late, time.Until(c.MintedAt()), c.MintedAt().Sub(cutoff))
			}
			if waited := time.Since(cutoff) - skew - late; waited > max(0, 3*time.Millisecond-late) {
				t.Errorf("%s after the cutoff: waited for %s", skew+late, waited)
			}
		})
	}
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
