package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// instances makes Managers that share a store and a replica, and whose clocks are off by
// so much.
func instances(t *testing.T, lives Lifetimes, off ...time.Duration) (list []*Manager) {
	t.Helper()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: simRing(t)})
	if err != nil {
		t.Fatal(err)
	}
	known, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	store := NewMemoryStore()
	for _, d := range off {
		m, err := newManager(Config{Issuer: issuer, Store: store, Revocations: known, Lifetimes: lives})
		if err != nil {
			t.Fatal(err)
		}
		m.now = func() revoke.Instant { return revoke.Now().Add(d) }
		m.mint = func(_ context.Context, r issue.Request) (minted, error) {
			return minted{"token", r.IssuedAt.Add(r.Lifetime)}, nil // the Issuer's clock is this machine's
		}
		list = append(list, m)
	}
	return list
}

func (m *Manager) mustLogin(t *testing.T) *Grant {
	t.Helper()
	g, err := m.Login(t.Context(), Login{
		Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: m.now().Time(),
		Recheck: func(context.Context) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// An instance whose clock is an hour ahead, or was until it was set, leaves windows that
// end in an hour. In them no theft would be found, and an honest client would be refused
// once there are sixteen; the next refresh by another cuts them (invariant 8).
func TestWindowsOfAClockThatIsAhead(t *testing.T) {
	for name, off := range map[string]time.Duration{"an hour ahead": time.Hour, "right": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				two := instances(t, Consumer, off, 0)
				ahead, right := two[0], two[1]
				g := right.mustLogin(t)
				last := g
				refresh := func(m *Manager) {
					t.Helper()
					next, err := m.Refresh(t.Context(), Request{Token: g.RefreshToken(), Client: "web"})
					if err != nil {
						t.Fatal(err)
					}
					g = next
				}
				for range maxSteps {
					last = g
					refresh(ahead)
					time.Sleep(500 * time.Millisecond)
				}
				for range 3 {
					time.Sleep(20 * time.Second)
					refresh(right)
				}
				if _, err := right.Refresh(t.Context(), Request{Token: last.RefreshToken(), Client: "web"}); !errors.Is(err, ErrReused) {
					t.Errorf("a replay: %v", err)
				}
			})
		})
	}
}

// A cutoff that lies in the future, by an instance whose clock is ahead, refuses logins
// until it has come; logging in again, as ErrSuperseded says, is useless.
func TestCutoffInTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := instances(t, Web, time.Hour, 0)
		ahead, right := two[0], two[1]
		right.mustLogin(t)
		if _, err := ahead.LogoutAll(t.Context(), "user-1"); err != nil {
			t.Fatal(err)
		}
		login := Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
		for range 2 {
			if _, err := right.Login(t.Context(), login); !errors.Is(err, ErrClock) || errors.Is(err, ErrLoginAgain) {
				t.Errorf("before: %v", err)
			}
			time.Sleep(time.Minute)
			login.AuthTime = time.Now()
		}
		time.Sleep(time.Hour)
		if _, err := right.Login(t.Context(), login); !errors.Is(err, ErrSuperseded) {
			t.Errorf("authenticated before it: %v", err)
		}
		right.mustLogin(t)
	})
}
