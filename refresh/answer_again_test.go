package refresh_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A retry within the window is given an access token that is dated as the first was, until half of
// its life is over, and then one that is dated anew: what it is given is good for a while.
func TestRetriesAreDatedAnewWhenHalfTheLifeIsOver(t *testing.T) {
	for after, anew := range map[time.Duration]bool{0: false, 5 * time.Second: false, 5*time.Second + time.Millisecond: true, 9 * time.Second: true} {
		synctest.Test(t, func(t *testing.T) {
			store := newLedger()
			s := newSystem(t, func(c *refresh.Config) {
				c.Store = store
				c.Lifetimes = refresh.Lifetimes{Idle: time.Hour, Absolute: time.Hour, Access: 10 * time.Second, Grace: 10 * time.Second}
			})
			g := s.login(t)
			first := s.refresh(t, g)
			time.Sleep(after)
			writes := store.saves()
			again := s.refresh(t, g)
			if again.RefreshToken() != first.RefreshToken() {
				t.Errorf("after %s: another successor", after)
			}
			if got := again.AccessExpires.After(first.AccessExpires); got != anew {
				t.Errorf("after %s: good until %s, the first until %s", after, again.AccessExpires, first.AccessExpires)
			}
			if got := store.saves() > writes; got != anew {
				t.Errorf("after %s: written %t", after, got)
			}
			if anew && time.Until(again.AccessExpires) < 9*time.Second {
				t.Errorf("after %s: good for %s", after, time.Until(again.AccessExpires))
			}
			s.accepted(t, again)
		})
	}
}

// Claims that cannot be written as JSON are the caller's mistake at a login, and where the
// application answers with them its failure, which costs the session nothing.
func TestClaimsThatCannotBeWritten(t *testing.T) {
	var answer refresh.Answer
	s := newSystem(t, func(c *refresh.Config) {
		c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) { return answer, nil }
	})
	for name, claims := range map[string]map[string]any{"no number": {"x": math.NaN()}, "too many": {"x": strings.Repeat("x", 16<<10)}} {
		_, err := s.Login(t.Context(), refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(), Claims: claims})
		if !errors.Is(err, refresh.ErrLogin) || !strings.Contains(err.Error(), "Claims") {
			t.Errorf("%s: login: %v", name, err)
		}
		g := s.login(t)
		answer.Claims = claims
		s.refused(t, g, refresh.ErrAsk)
		answer.Claims = map[string]any{"plan": "free"}
		if c := s.accepted(t, s.refresh(t, g)); c == nil {
			t.Errorf("%s: the session is lost", name)
		}
		answer.Claims = nil
	}
}

// What is no session id has no successor, nor has a session whose time is over.
func TestReauthenticateWhatIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		for _, sid := range []string{"", "x", strings.Repeat("A", 21), strings.Repeat("A", 23), strings.Repeat("A", 21) + "\n"} {
			if _, err := s.Reauthenticate(t.Context(), sid, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrLogin) {
				t.Errorf("%q: %v", sid, err)
			}
		}
		if _, err := s.Reauthenticate(t.Context(), strings.Repeat("A", 22), refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrUnknown) {
			t.Errorf("of no session: %v", err)
		}
		for late, want := range map[time.Duration]error{0: nil, time.Millisecond: refresh.ErrSessionExpired} {
			g := s.login(t)
			time.Sleep(refresh.Web.Idle + late)
			if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, want) {
				t.Errorf("%s after its end: %v, want %v", late, err, want)
			}
		}
	})
}

// One who hangs up while a declaration waits for the other instances is told that not all know it
// yet; it is declared all the same.
func TestHungUpOnADeclaredRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.DeclareRestore(ctx, time.Time{}); !errors.Is(err, refresh.ErrTryAgain) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("declared: %v", err)
		}
		s.refused(t, g, refresh.ErrEnded)
		time.Sleep(5 * time.Second)
		s.refresh(t, s.login(t))
	})
}
