package refresh_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// A login makes a session, and refreshing rotates it.
func TestLoginAndRefresh(t *testing.T) {
	s := newSystem(t)
	before := time.Now().Add(-time.Minute)
	g := s.login(t, func(l *refresh.Login) {
		l.AuthTime, l.ACR, l.AMR, l.Claims, l.Tenant = before, "silver", []string{"pwd", "otp"}, map[string]any{"role": "admin"}, "acme"
	})
	next := s.refresh(t, g)
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

// Invariant 8: a use after the window ends the session here
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
		if retry.RefreshToken() != next.RefreshToken() {
			t.Fatal("a retry within the window got another successor")
		}
		if len(graces) != 1 || graces[0].ID != g.SessionID {
			t.Fatalf("OnGrace was told of %v", graces)
		}
		s.accepted(t, retry)
		time.Sleep(4 * time.Second)
		s.refused(t, g, refresh.ErrReused)
		s.dead(t, g)
		s.dead(t, next)
		s.refused(t, next, refresh.ErrEnded)
		if len(replays) != 1 || replays[0].ID != g.SessionID {
			t.Errorf("OnReplay was told of %v", replays)
		}
	})
}

// A retry follows the chain of successors, however long it is, and however many ask they
// are answered with the same, byte for byte; none extends a window.
func TestGraceHasOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLedger()
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		chain := []*refresh.Grant{s.login(t)}
		for range 10 {
			chain = append(chain, s.refresh(t, chain[len(chain)-1]))
		}
		last := chain[len(chain)-1]
		time.Sleep(2 * time.Second)
		writes := store.saves()
		for _, g := range chain[:len(chain)-1] {
			for range 12 {
				retry := s.refresh(t, g)
				if retry.RefreshToken() != last.RefreshToken() || !retry.RefreshExpires.Equal(last.RefreshExpires) {
					t.Fatalf("a retry within the window is given %v, another successor or expiry than %v", retry, last)
				}
				if c, first := s.accepted(t, retry), s.accepted(t, last); !c.MintedAt().Equal(first.MintedAt()) {
					t.Fatalf("a retry's access token is dated %s, the rotation's %s", c.MintedAt(), first.MintedAt())
				}
			}
			time.Sleep(time.Millisecond)
		}
		if n := store.saves() - writes; n != 0 {
			t.Errorf("%d writes for answers within the window", n)
		}
		time.Sleep(10 * time.Second) // 12 s: Grace and MaxSkew
		s.refused(t, chain[9], refresh.ErrReused)
	})
}

// A flood of retries is bounded by rate, and leaves no mark: anyone who was told to try again
// in it is not convicted for doing so.
func TestFloodOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g, other := s.login(t), s.login(t)
		next := s.refresh(t, g)
		refreshedOther := s.refresh(t, other)
		answered, busy := 0, 0
		for range 1000 {
			switch retry, err := s.Refresh(t.Context(), request(g.RefreshToken())); {
			case err == nil && retry.RefreshToken() == next.RefreshToken():
				answered++
			case errors.Is(err, refresh.ErrBusy) && !errors.Is(err, refresh.ErrLoginAgain):
				busy++
			default:
				t.Fatal(err)
			}
		}
		if answered < 100 || busy < 500 {
			t.Errorf("%d answered, %d told to try again", answered, busy)
		}
		if retry := s.refresh(t, other); retry.RefreshToken() != refreshedOther.RefreshToken() {
			t.Error("another session's retry has another successor")
		}
		time.Sleep(13 * time.Second)
		if retry := s.refresh(t, g); retry.RefreshToken() != next.RefreshToken() {
			t.Error("another successor")
		}
		s.refresh(t, next)
	})
}

func TestHighSecurityHasNoGrace(t *testing.T) {
	s := newSystem(t, func(c *refresh.Config) { c.Lifetimes = refresh.Lifetimes{} })
	g := s.login(t)
	next := s.refresh(t, g)
	s.refused(t, g, refresh.ErrReused)
	s.refused(t, next, refresh.ErrEnded)
	s.dead(t, next)
}

// Invariant 8: of many concurrent uses one rotates, and none of the
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
					next, err := s.Refresh(t.Context(), request(g.RefreshToken()))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil:
						successors[next.RefreshToken()]++
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

// The same where there is no window and a late retry is allowed: a call that found the token
// good and was overtaken is none. It would rotate once more, and burn what the first was given.
func TestOneSuccessWhereARetryMayBeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &busyStore{Store: refresh.NewMemoryStore()}
		late := 0
		s := newSystem(t, func(c *refresh.Config) {
			c.Store, c.Lifetimes = store, refresh.HighSecurity
			c.OnLate = func(context.Context, refresh.Session) { late++ }
		})
		bound := token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
		g := s.login(t, func(l *refresh.Login) { l.Binding = bound })
		var next *refresh.Grant
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				got, err := s.Refresh(t.Context(), request(g.RefreshToken(), boundTo(bound)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && next != nil:
					t.Error("two successors of one refresh token")
				case err == nil:
					next = got
				case !errors.Is(err, refresh.ErrTryAgain):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if next == nil || late != 0 {
			t.Fatalf("a successor: %t, late retries: %d", next != nil, late)
		}
		next = s.refresh(t, next, boundTo(bound))
		time.Sleep(time.Minute)
		s.refresh(t, next, boundTo(bound))
		s.refresh(t, next, boundTo(bound)) // the answer was lost: that is what the ration is for
	})
}

// A refresh narrows the scope and never widens it, and is the session's client's and key's alone.
func TestClientScopeAndBinding(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	s.refused(t, g, refresh.ErrClient, byClient("other"))
	// Who forgets to say whose token it is does not get past the check (RFC 6749 section 6).
	if _, err := s.Refresh(t.Context(), request(g.RefreshToken(), byClient(""))); !errors.Is(err, refresh.ErrRequest) ||
		errors.Is(err, refresh.ErrLoginAgain) || errors.Is(err, refresh.ErrTryAgain) || !strings.Contains(err.Error(), "Client") {
		t.Errorf("no client: %v", err)
	}
	s.refused(t, g, refresh.ErrPossession, boundTo(token.Binding{KeyThumbprint: strings.Repeat("A", 43)}))
	s.refused(t, g, refresh.ErrScope, narrowedTo("read", "admin"))
	narrow := s.refresh(t, g, narrowedTo("read"))
	if c := s.accepted(t, narrow); !c.HasScope("read") || c.HasScope("write") || !slices.Equal(narrow.Scope, []string{"read"}) {
		t.Errorf("narrowed to %v", narrow.Scope)
	}
	if c := s.accepted(t, s.refresh(t, narrow)); !c.HasScope("write") {
		t.Error("the refresh token has lost a scope by what one access token asked for")
	}
	if g := s.refresh(t, s.login(t), narrowedTo()); len(g.Scope) != 0 {
		t.Errorf("narrowed to nothing: %v", g.Scope)
	}

	key := token.Binding{KeyThumbprint: strings.Repeat("A", 43)}
	bound := s.login(t, func(l *refresh.Login) { l.Binding = key })
	if bound.TokenType != "DPoP" {
		t.Errorf("token type %s of a bound session", bound.TokenType)
	}
	s.refused(t, bound, refresh.ErrPossession)
	s.refused(t, bound, refresh.ErrPossession, boundTo(token.Binding{KeyThumbprint: strings.Repeat("B", 43)}))
	s.refresh(t, bound, boundTo(key))
}

// Idle and absolute limits, by the store's data.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		time.Sleep(time.Hour + time.Second)
		s.refused(t, g, refresh.ErrSessionExpired)

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
		s.refused(t, g, refresh.ErrSessionExpired)
	})
}

// The timeline of the OAuth draft on the expiration of refresh tokens.
func TestTimeline(t *testing.T) {
	const file = "../../shared/vectors/refresh-token-expiration/timeline.json"
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the published vectors are not beside this checkout")
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

// What is no refresh token, or not quite, changes
// nothing, and is always told the same, so that anyone who counts unknown tokens counts all.
// A client chooses no session id.
func TestUnknownTokens(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	good := g.RefreshToken()
	unknown := func(bad string) {
		t.Helper()
		if _, err := s.Refresh(t.Context(), request(bad)); !errors.Is(err, refresh.ErrUnknown) || errors.Is(err, refresh.ErrTryAgain) {
			t.Fatalf("%.140q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "x", g.AccessToken(), good[:len(good)-1], good + "A", good + "=", " " + good, good + "\n", strings.ToUpper(good), strings.Repeat("A", 1<<20)} {
		unknown(bad)
	}
	raw := func() []byte { return rawToken(t, good) }
	// Every single bit: one token has one spelling.
	for i := range raw() {
		for bit := range 8 {
			b := raw()
			b[i] ^= 1 << bit
			unknown(spellRaw(b))
		}
	}
	// What earlier versions took for the time of issue decides nothing, for a session that
	// is not there, for one that is, and for the right secrets.
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Now(), time.Now().Add(-20 * time.Second), time.Now().Add(20 * time.Second), time.Now().Add(-time.Hour), time.UnixMilli(math.MaxInt64)} {
		for name, change := range map[string]func(b []byte){
			"another session": func(b []byte) { b[0]++ }, "another family": func(b []byte) { b[24]++ }, "another generation": func(b []byte) { b[56]++ }, "no other": func([]byte) {},
		} {
			b := raw()
			change(b)
			binary.BigEndian.PutUint64(b[16:], uint64(at.UnixMilli()))
			unknown(spellRaw(b))
			if name != "no other" && name != "another generation" {
				unknown(checked(b))
			}
		}
	}
	s.refresh(t, g)
}

// A token of a made-up family gets its answer whatever the store last said, and the
// session of which it names the id goes on undisturbed, one write a second aside.
func TestMadeUpFamilies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLedger()
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g, other := s.login(t), s.login(t)
		forged := mixed(t, g, other)
		before := store.saves()
		made := func() {
			t.Helper()
			if _, err := s.Refresh(t.Context(), request(forged)); !errors.Is(err, refresh.ErrUnknown) {
				t.Fatal(err)
			}
		}
		for range 100 {
			made()
		}
		if n := store.saves() - before; n > 1 {
			t.Errorf("%d writes for a hundred made-up tokens in one moment", n)
		}
		next := s.refresh(t, g)
		time.Sleep(time.Minute)
		made()
		s.refresh(t, next)
	})
}

// A store that lags shows a kept session with the family that it had before: its new
// token is not unknown for that.
func TestLaggingStoreForgetsNoFamily(t *testing.T) {
	store := &lagging{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	g := s.login(t)
	store.keep("s.")
	g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(g.SessionID))
	if err != nil {
		t.Fatal(err)
	}
	store.lag.Store(true)
	next := s.refresh(t, g)
	if store.lag.Load() {
		t.Fatal("the store did not lag")
	}
	s.refresh(t, next)
}

// Nor is a session expired that was used a moment ago.
func TestLaggingStoreExpiresNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &lagging{Store: refresh.NewMemoryStore()}
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.login(t)
		store.keep("s.")
		time.Sleep(time.Hour - time.Second)
		g = s.refresh(t, g)
		time.Sleep(2 * time.Second)
		store.lag.Store(true)
		s.refresh(t, g)
		if store.lag.Load() {
			t.Fatal("the store did not lag")
		}
		time.Sleep(time.Hour + 2*time.Second)
		s.refused(t, g, refresh.ErrSessionExpired)
	})
}

// Sixteen rotations within a window are all that a record holds. The seventeenth is told
// to try again, and is answered when they have passed.
func TestRotationsWithinAWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		for range 16 {
			g = s.refresh(t, g)
		}
		for range 3 {
			s.refused(t, g, refresh.ErrBusy)
		}
		time.Sleep(13 * time.Second)
		s.refresh(t, s.refresh(t, g))
	})
}

// Of the retries of one session 200 are answered at once, and then 20 a second.
func TestRetriesAreAnsweredAtTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		s.refresh(t, g)
		answered := func() (n int) {
			for range 300 {
				switch _, err := s.Refresh(t.Context(), request(g.RefreshToken())); {
				case err == nil:
					n++
				case !errors.Is(err, refresh.ErrBusy):
					t.Fatal(err)
				}
			}
			return n
		}
		for i, want := range []int{200, 20, 20, 20} {
			if n := answered(); n != want {
				t.Errorf("after %d s %d are answered, want %d", i, n, want)
			}
			time.Sleep(time.Second)
		}
	})
}
