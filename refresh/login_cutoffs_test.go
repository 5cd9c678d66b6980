package refresh_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

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
