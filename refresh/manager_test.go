package refresh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A system is one Manager with its parts: a Local replica, so that what it publishes is
// what services know.
type system struct {
	*refresh.Manager
	store    *recorder
	list     *revoke.List
	issuer   *token.Issuer
	verifier *token.Verifier
	events   []revoke.Event
	fail     error // of the next publishing
	mu       sync.Mutex
}

func (s *system) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail; err != nil {
		return revoke.Receipt{}, err
	}
	if err := e.Validate(); err != nil { // as a bus does
		return revoke.Receipt{}, err
	}
	s.events = append(s.events, e)
	return revoke.Receipt{ID: e.ID, Event: e}, nil
}

// A recorder remembers what was stored.
type recorder struct {
	refresh.Store
	mu    sync.Mutex
	saved [][]byte
	fail  error
}

func (r *recorder) Load(ctx context.Context, key string) (refresh.Record, error) {
	r.mu.Lock()
	err := r.fail
	r.mu.Unlock()
	if err != nil {
		return refresh.Record{}, err
	}
	return r.Store.Load(ctx, key)
}

func (r *recorder) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	r.mu.Lock()
	r.saved = append(r.saved, append([]byte(key+" "), value...))
	r.mu.Unlock()
	return r.Store.Save(ctx, key, value, revision, expires)
}

const issuerName = "https://auth.example.com"

func newSystem(t *testing.T, change ...func(*refresh.Config)) *system {
	t.Helper()
	ring, err := token.NewEphemeralKeyring(token.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: issuerName, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{store: &recorder{Store: refresh.NewMemoryStore()}, issuer: issuer}
	if s.list, err = revoke.NewList(revoke.Config{Local: true}); err != nil {
		t.Fatal(err)
	}
	if s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuer: issuerName, Audiences: []string{"api"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: s.list,
	}); err != nil {
		t.Fatal(err)
	}
	cfg := refresh.Config{Issuer: issuer, Store: s.store, Revocations: s.list, Publisher: s, Lifetimes: refresh.Web}
	for _, c := range change {
		c(&cfg)
	}
	if s.Manager, err = refresh.NewManager(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *system) login(t *testing.T, change ...func(*refresh.Login)) *refresh.Grant {
	t.Helper()
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(), Scope: []string{"read", "write"}}
	for _, c := range change {
		c(&l)
	}
	g, err := s.Login(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (s *system) refresh(t *testing.T, g *refresh.Grant, o ...refresh.RefreshOption) *refresh.Grant {
	t.Helper()
	next, err := s.Refresh(t.Context(), g.RefreshToken(), o...)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// refused expects an error of that kind and of its family alone.
func (s *system) refused(t *testing.T, g *refresh.Grant, want error, o ...refresh.RefreshOption) {
	t.Helper()
	_, err := s.Refresh(t.Context(), g.RefreshToken(), o...)
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if want != refresh.ErrScope && errors.Is(err, refresh.ErrLoginAgain) == errors.Is(err, refresh.ErrTryAgain) {
		t.Fatalf("error %v is of both families or of none", err)
	}
}

// accepted and dead say what services make of a grant's access token.
func (s *system) accepted(t *testing.T, g *refresh.Grant) *token.Claims {
	t.Helper()
	c, err := s.verifier.Verify(t.Context(), g.AccessToken())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *system) dead(t *testing.T, g *refresh.Grant) {
	t.Helper()
	if _, err := s.verifier.Verify(t.Context(), g.AccessToken()); !errors.Is(err, revoke.ErrRevoked) {
		t.Fatalf("the access token is not refused as revoked: %v", err)
	}
}

// Rows R01 and R05, case K06: a login makes a session, and refreshing rotates it.
func TestLoginAndRefresh(t *testing.T) {
	s := newSystem(t)
	before := time.Now().Add(-time.Minute)
	g := s.login(t, func(l *refresh.Login) {
		l.AuthTime, l.ACR, l.AMR, l.Claims, l.Tenant = before, "silver", []string{"pwd", "otp"}, map[string]any{"role": "admin"}, "acme"
	})
	next := s.refresh(t, g, refresh.ByClient("web"))
	for _, g := range []*refresh.Grant{g, next} {
		c := s.accepted(t, g)
		role, _ := c.Claim("role")
		if c.Subject() != "user-1" || c.ClientID() != "web" || c.SessionID() != g.SessionID || c.Tenant() != "acme" || c.ACR() != "silver" ||
			!slices.Equal(c.AMR(), []string{"pwd", "otp"}) || c.AuthTime().Unix() != before.Unix() || string(role) != `"admin"` || !c.HasScope("read") || !c.HasScope("write") {
			t.Errorf("the token claims %v", c)
		}
	}
	if next.SessionID != g.SessionID || next.RefreshToken() == g.RefreshToken() || next.AccessToken() == g.AccessToken() || next.TokenType != "Bearer" {
		t.Errorf("refreshing %v gave %v", g, next)
	}
	if other := s.login(t); other.SessionID == g.SessionID {
		t.Error("two logins, one session id")
	}
}

// Rows R02 and R03, case N74, invariant 8: a use after the window ends the session here
// and at every service; within it a retry is answered.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var replays, graces []refresh.Session
		s := newSystem(t, func(c *refresh.Config) {
			c.OnReplay = func(_ context.Context, x refresh.Session) { replays = append(replays, x) }
			c.OnGrace = func(_ context.Context, x refresh.Session) { graces = append(graces, x) }
		})
		g := s.login(t)
		next := s.refresh(t, g)
		time.Sleep(9 * time.Second)
		retry := s.refresh(t, g)
		// Two answers of one rotation differ in when they were given, not in the generation.
		if last := func(g *refresh.Grant) string { return g.RefreshToken()[len(g.RefreshToken())-42:] }; last(retry) != last(next) {
			t.Fatal("a retry within the window got another successor")
		}
		if len(graces) != 1 || graces[0].ID != g.SessionID {
			t.Fatalf("OnGrace was told of %v", graces)
		}
		s.accepted(t, retry)
		time.Sleep(4 * time.Second)
		s.refused(t, g, refresh.ErrReplayed)
		s.dead(t, g)
		s.dead(t, next)
		s.refused(t, next, refresh.ErrEnded)
		if len(replays) != 1 || replays[0].ID != g.SessionID {
			t.Errorf("OnReplay was told of %v", replays)
		}
	})
}

// A retry follows the chain of successors; each is answered three times, and none
// extends a window.
func TestGraceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		chain := []*refresh.Grant{g}
		for range 4 {
			chain = append(chain, s.refresh(t, chain[len(chain)-1]))
		}
		if r := s.refresh(t, g); s.refresh(t, r).SessionID != g.SessionID {
			t.Error("the end of a chain of four does not refresh")
		}
		// Five rotations away now.
		s.refused(t, g, refresh.ErrBusy)
		for range 3 {
			s.refresh(t, chain[2])
		}
		s.refused(t, chain[2], refresh.ErrBusy)
		s.refresh(t, chain[3])
		time.Sleep(11*time.Second + 2*time.Second)
		s.refused(t, chain[3], refresh.ErrReplayed)
	})
}

func TestHighSecurityHasNoGrace(t *testing.T) {
	s := newSystem(t, func(c *refresh.Config) { c.Lifetimes = refresh.Lifetimes{} })
	g := s.login(t)
	next := s.refresh(t, g)
	s.refused(t, g, refresh.ErrReplayed)
	s.refused(t, next, refresh.ErrEnded)
	s.dead(t, next)
}

// Row R04, case N75, invariant 8: of many concurrent uses one rotates, and none of the
// others is taken for theft.
func TestOneSuccess(t *testing.T) {
	for _, lifetimes := range []refresh.Lifetimes{refresh.HighSecurity, refresh.Web} {
		s := newSystem(t, func(c *refresh.Config) { c.Lifetimes = lifetimes })
		for range 20 {
			g := s.login(t)
			var wg sync.WaitGroup
			var mu sync.Mutex
			successors := map[string]int{}
			start := make(chan struct{})
			for range 8 {
				wg.Go(func() {
					<-start
					next, err := s.Refresh(t.Context(), g.RefreshToken())
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						// Two answers of one rotation differ in when they were given.
						successors[next.RefreshToken()[len(next.RefreshToken())-42:]]++
					case lifetimes.Grace > 0 && !errors.Is(err, refresh.ErrTryAgain):
						t.Error(err)
					}
				})
			}
			close(start)
			wg.Wait()
			if len(successors) > 1 || lifetimes.Grace > 0 && len(successors) != 1 {
				t.Fatalf("%d successors of one refresh token", len(successors))
			}
		}
	}
}

// Cases N76 and N77, rows R05 and R06.
func TestClientScopeAndBinding(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	s.refused(t, g, refresh.ErrClient, refresh.ByClient("other"))
	s.refused(t, g, refresh.ErrBinding, refresh.Bound(token.Binding{KeyThumbprint: strings.Repeat("A", 43)}))
	s.refused(t, g, refresh.ErrScope, refresh.Narrow("read", "admin"))
	narrow := s.refresh(t, g, refresh.ByClient("web"), refresh.Narrow("read"))
	if c := s.accepted(t, narrow); !c.HasScope("read") || c.HasScope("write") || !slices.Equal(narrow.Scope, []string{"read"}) {
		t.Errorf("narrowed to %v", narrow.Scope)
	}
	if c := s.accepted(t, s.refresh(t, narrow)); !c.HasScope("write") {
		t.Error("the refresh token has lost a scope by what one access token asked for")
	}
	if g := s.refresh(t, s.login(t), refresh.Narrow()); len(g.Scope) != 0 {
		t.Errorf("narrowed to nothing: %v", g.Scope)
	}

	key := token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
	bound := s.login(t, func(l *refresh.Login) { l.Binding = key })
	if bound.TokenType != "DPoP" {
		t.Errorf("token type %s of a bound session", bound.TokenType)
	}
	s.refused(t, bound, refresh.ErrBinding)
	s.refused(t, bound, refresh.ErrBinding, refresh.Bound(token.Binding{KeyThumbprint: strings.Repeat("B", 43)}))
	s.refresh(t, bound, refresh.Bound(key))
}

// Cases N78 and N79, rows R07, R08 and K07: idle and absolute limits, by the store's data.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		time.Sleep(time.Hour + time.Second)
		s.refused(t, g, refresh.ErrExpired)

		g = s.login(t)
		begin := time.Now()
		for time.Since(begin) < 23*time.Hour+20*time.Minute {
			time.Sleep(50 * time.Minute)
			g = s.refresh(t, g)
			if g.AccessExpires.After(g.SessionExpires) || g.RefreshExpires.After(g.SessionExpires) {
				t.Fatalf("a token outlives its session: %s, %s, %s", g.AccessExpires, g.RefreshExpires, g.SessionExpires)
			}
		}
		if g.AccessTimeout > 15*time.Minute || g.RefreshTimeout >= time.Hour {
			t.Errorf("near the end %s and %s are left", g.AccessTimeout, g.RefreshTimeout)
		}
		time.Sleep(time.Until(begin.Add(24*time.Hour + time.Second)))
		s.refused(t, g, refresh.ErrExpired)
	})
}

// Row R09: the draft's timeline.
func TestTimeline(t *testing.T) {
	const file = "../../shared/vectors/refresh-token-expiration/timeline.json"
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no test data of others here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Policy struct {
			Idle     int64 `json:"idle_seconds"`
			Absolute int64 `json:"absolute_seconds"`
		}
		Cases []struct {
			Elapsed int64 `json:"elapsed_seconds"`
			Refresh int64 `json:"refresh_token_timeout"`
			Session int64 `json:"authorization_expires_in"`
		}
	}
	if err := json.Unmarshal(data, &v); err != nil || len(v.Cases) != 3 {
		t.Fatalf("%v, %d cases", err, len(v.Cases))
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes = refresh.Lifetimes{Idle: time.Duration(v.Policy.Idle) * time.Second, Absolute: time.Duration(v.Policy.Absolute) * time.Second, Access: time.Minute, Grace: time.Second}
		})
		begin := time.Now()
		g := s.login(t)
		for _, c := range v.Cases {
			for at := begin.Add(time.Duration(c.Elapsed) * time.Second); time.Now().Before(at); {
				time.Sleep(min(time.Until(at), time.Duration(v.Policy.Idle)*time.Second))
				g = s.refresh(t, g)
			}
			if g.RefreshTimeout != time.Duration(c.Refresh)*time.Second || g.SessionTimeout != time.Duration(c.Session)*time.Second {
				t.Errorf("after %d s: %s and %s, want %d s and %d s", c.Elapsed, g.RefreshTimeout, g.SessionTimeout, c.Refresh, c.Session)
			}
		}
	})
}

// Cases N80, N81 and N87, row R11: what is no refresh token, or not quite, changes
// nothing. A client chooses no session id.
func TestUnknownTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		good := g.RefreshToken()
		time.Sleep(time.Minute) // later, an old token is not the store's slowness
		for _, bad := range []string{"", "x", g.AccessToken(), good[:len(good)-1], good + "A", good + "=", " " + good, good + "\n", strings.ToUpper(good), strings.Repeat("A", 1<<20)} {
			if _, err := s.Refresh(t.Context(), bad); !errors.Is(err, refresh.ErrUnknown) {
				t.Errorf("%.20q: %v", bad, err)
			}
		}
		// Every bit of the session id and the family: unknown, and nothing happens.
		flips := 0
		for i := len("htr1_"); i < len(good); i++ {
			for _, c := range []byte("AZ") {
				b := []byte(good)
				if b[i] == c {
					continue
				}
				b[i] = c
				_, err := s.Refresh(t.Context(), string(b))
				if i < len("htr1_")+21 || i > len("htr1_")+32 && i < len("htr1_")+74 {
					flips++
					if !errors.Is(err, refresh.ErrUnknown) {
						t.Fatalf("byte %d: %v", i, err)
					}
				} else if err == nil && i > len("htr1_")+32 {
					t.Fatalf("byte %d: accepted", i)
				}
				if errors.Is(err, refresh.ErrEnded) {
					return // a generation that never was is taken for theft: the family is right
				}
			}
		}
		if flips < 50 {
			t.Fatalf("%d flips", flips)
		}
	})
}

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

// The application is asked at each refresh.
func TestAsk(t *testing.T) {
	var answer refresh.Answer
	var failure error
	var asked []refresh.Session
	s := newSystem(t, func(c *refresh.Config) {
		c.Ask = func(_ context.Context, x refresh.Session) (refresh.Answer, error) {
			asked = append(asked, x)
			return answer, failure
		}
	})
	g := s.login(t, func(l *refresh.Login) {
		l.Claims = map[string]any{"role": "admin"}
		l.Device = refresh.Device{Label: "phone"}
	})
	answer.Claims = map[string]any{"role": "guest"}
	g = s.refresh(t, g)
	if role, _ := s.accepted(t, g).Claim("role"); string(role) != `"guest"` {
		t.Errorf("role %s", role)
	}
	failure = errors.New("no database")
	s.refused(t, g, refresh.ErrAsk)
	failure, answer = nil, refresh.Answer{}
	g = s.refresh(t, g)
	answer = refresh.Answer{End: true, Reason: "disabled"}
	s.refused(t, g, refresh.ErrEnded)
	s.dead(t, g)
	if len(asked) != 4 || asked[0].ID != g.SessionID || asked[0].Device.Label != "phone" || asked[0].Subject != "user-1" {
		t.Errorf("asked about %v", asked)
	}
}

// A replica that cannot know is no reason to log anybody out; nor is a store.
func TestTryAgain(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	s.store.fail = errors.New("no store")
	s.refused(t, g, refresh.ErrStore)
	if _, err := s.Login(t.Context(), refresh.Login{Subject: "u", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}); !errors.Is(err, refresh.ErrTryAgain) {
		t.Error(err)
	}
	s.store.fail = nil
	s.refresh(t, g)

	list, err := revoke.NewList(revoke.Config{}) // nobody feeds it
	if err != nil {
		t.Fatal(err)
	}
	s = newSystem(t, func(c *refresh.Config) { c.Revocations = list })
	g = s.login(t)
	s.refused(t, g, refresh.ErrTryAgain)
	if _, err := s.Refresh(t.Context(), g.RefreshToken()); !errors.Is(err, revoke.ErrStale) {
		t.Error(err)
	}
}

func TestReauthenticate(t *testing.T) {
	s := newSystem(t)
	old := s.login(t, func(l *refresh.Login) {
		l.Claims, l.ACR, l.Device = map[string]any{"role": "admin"}, "bronze", refresh.Device{Label: "phone"}
	})
	g, err := s.Reauthenticate(t.Context(), old.SessionID, refresh.Login{AuthTime: time.Now(), ACR: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	c := s.accepted(t, g)
	if role, _ := c.Claim("role"); g.SessionID == old.SessionID || c.ACR() != "gold" || c.Subject() != "user-1" || string(role) != `"admin"` || !c.HasScope("write") {
		t.Errorf("reauthenticated as %v", c)
	}
	s.dead(t, old)
	s.refused(t, old, refresh.ErrEnded)
	for want, l := range map[error]refresh.Login{
		refresh.ErrLogin: {Subject: "user-2", AuthTime: time.Now()},
		refresh.ErrEnded: {AuthTime: time.Now()},
	} {
		sid := g.SessionID
		if want == refresh.ErrEnded {
			sid = old.SessionID
		}
		if _, err := s.Reauthenticate(t.Context(), sid, l); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	s.accepted(t, g)
}

// Row K10: the devices page, and the limit of sessions.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 3 })
		var grants []*refresh.Grant
		for i := range 5 {
			grants = append(grants, s.login(t, func(l *refresh.Login) {
				l.Device = refresh.Device{Label: fmt.Sprint("device ", i), Address: "192.0.2.1"}
			}))
			time.Sleep(time.Second)
		}
		s.dead(t, grants[0])
		s.dead(t, grants[1])
		s.accepted(t, grants[2])
		s.refresh(t, grants[3], refresh.From(refresh.Device{Label: "moved"}))
		list, err := s.Sessions(t.Context(), "user-1")
		if err != nil || len(list) != 3 || list[0].ID != grants[4].SessionID || list[1].Device.Label != "moved" || list[2].Device.Address != "192.0.2.1" ||
			!list[1].LastUsed.After(list[1].Created) || list[0].Client != "web" {
			t.Fatalf("%+v, %v", list, err)
		}
		if list, err := s.Sessions(t.Context(), "nobody"); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		time.Sleep(2 * time.Hour)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
			t.Errorf("expired ones are shown: %v, %v", list, err)
		}
	})
}

func TestLoginRefusals(t *testing.T) {
	s := newSystem(t)
	good := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
	for field, change := range map[string]func(*refresh.Login){
		"Subject":     func(l *refresh.Login) { l.Subject = "" },
		"Client":      func(l *refresh.Login) { l.Client = "" },
		"Audience":    func(l *refresh.Login) { l.Audience = nil },
		"AuthTime":    func(l *refresh.Login) { l.AuthTime = time.Time{} },
		"future":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(time.Minute) },
		"longer":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(-25 * time.Hour) },
		"Subject has": func(l *refresh.Login) { l.Subject = strings.Repeat("x", 513) },
		"Client is":   func(l *refresh.Login) { l.Client = "caf\xe9" },
		"Tenant has":  func(l *refresh.Login) { l.Tenant = strings.Repeat("x", 513) },
		"Device":      func(l *refresh.Login) { l.Device.Label = strings.Repeat("x", 257) },
		"Claims":      func(l *refresh.Login) { l.Claims = map[string]any{"x": strings.Repeat("x", 17<<10)} },
	} {
		l := good
		change(&l)
		if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrLogin) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
	good.Subject, good.Client, good.Tenant = strings.Repeat("s", 512), strings.Repeat("c", 512), strings.Repeat("t", 512)
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
}

func TestNewManagerRefuses(t *testing.T) {
	ring, _ := token.NewEphemeralKeyring(token.KeyringConfig{Algorithm: token.EdDSA})
	issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: issuerName, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	local, _ := revoke.NewList(revoke.Config{Local: true})
	fed, _ := revoke.NewList(revoke.Config{})
	short, _ := revoke.NewList(revoke.Config{Local: true, TokenLifetime: 30 * time.Minute})
	good := refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: local}
	for field, change := range map[string]func(*refresh.Config){
		"Issuer":             func(c *refresh.Config) { c.Issuer = nil },
		"Store":              func(c *refresh.Config) { c.Store = nil },
		"Revocations":        func(c *refresh.Config) { c.Revocations = nil },
		"Publisher":          func(c *refresh.Config) { c.Revocations = fed },
		"TokenLifetime":      func(c *refresh.Config) { c.Revocations = short },
		"MaxSessions":        func(c *refresh.Config) { c.MaxSessions = 1001 },
		"Lifetimes.Access":   func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Access = 16 * time.Minute },
		"Lifetimes.Idle":     func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Idle = 25 * time.Hour },
		"Lifetimes.Absolute": func(c *refresh.Config) { c.Lifetimes = refresh.Consumer; c.Lifetimes.Absolute = 100 * 24 * time.Hour },
		"Lifetimes.Grace":    func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Grace = time.Hour },
		"Lifetimes.Answers":  func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Answers = -1 },
	} {
		c := good
		change(&c)
		if _, err := refresh.NewManager(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	m, err := refresh.NewManager(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if _, err := m.Refresh(t.Context(), "x"); !errors.Is(err, refresh.ErrClosed) {
		t.Error(err)
	}
}

// Rows K05 and N96, invariant 10: no refresh token, access token or secret of one in
// the store, a log, an error or a printed grant.
func TestSecretsStaySecret(t *testing.T) {
	var log bytes.Buffer
	s := newSystem(t, func(c *refresh.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Lifetimes.Grace = time.Minute
	})
	g := s.login(t)
	next := s.refresh(t, g)
	last := s.refresh(t, s.refresh(t, next))
	var said strings.Builder
	for _, g := range []*refresh.Grant{g, next, last} {
		fmt.Fprintf(&said, "%v %+v %#v %s %q %x %v", g, *g, g, g, g, *g, []any{g, *g})
		b, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(b)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("grant", "grant", g, "value", *g, "in", struct{ G *refresh.Grant }{g})
	}
	s.fail = errors.New("bus down")
	for _, text := range []string{g.RefreshToken(), g.RefreshToken() + "x", g.RefreshToken()[:90]} {
		_, err := s.Refresh(t.Context(), text, refresh.ByClient("other"))
		fmt.Fprintf(&said, "%v %+v %#v", err, err, err)
	}
	if err := s.Logout(t.Context(), g.SessionID); err == nil {
		t.Fatal("no error to look at")
	}
	stored := string(bytes.Join(s.store.saved, nil))
	if !strings.Contains(stored, `"seal"`) || !strings.Contains(log.String(), g.SessionID) || !strings.Contains(said.String(), g.SessionID) {
		t.Fatal("nothing was looked at")
	}
	for _, g := range []*refresh.Grant{g, next, last} {
		raw := strings.TrimPrefix(g.RefreshToken(), "htr1_")
		// Beyond the session id and the time, which are no secrets.
		for name, secret := range map[string]string{
			"refresh token": g.RefreshToken(), "family secret": raw[33:74], "generation secret": raw[76:], "access token": g.AccessToken(),
			"signature": g.AccessToken()[strings.LastIndexByte(g.AccessToken(), '.'):],
		} {
			for where, text := range map[string]string{"store": stored, "log": log.String(), "output": said.String()} {
				if strings.Contains(text, secret) {
					t.Errorf("a %s in the %s", name, where)
				}
			}
		}
	}
}
