package refresh_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The application's word ends a session whatever it gives for a reason.
func TestAskWithReasonThatNoEventTakes(t *testing.T) {
	for _, reason := range []string{strings.Repeat("x", revoke.MaxReasonBytes+1), "caf\xe9", "disabled"} {
		s := newSystem(t, func(c *refresh.Config) {
			c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
				return refresh.Answer{End: true, Reason: reason}, nil
			}
		})
		g := s.login(t)
		s.refused(t, g, refresh.ErrEnded)
		s.dead(t, g)
		if told := s.events[0].Reason; (told == reason) != (reason == "disabled") {
			t.Errorf("the services were told %q", told)
		}
	}
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

var errReadOnly = errors.New("read only")

// A readonly store takes no writes.
type readonly struct {
	refresh.Store
	on atomic.Bool
}

func (r *readonly) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if r.on.Load() {
		return 0, errReadOnly
	}
	return r.Store.Save(ctx, key, value, revision, expires)
}

// Invariant 9: what the application ends is not called ended before it is; and a client
// that hangs up does not keep it from ending.
func TestAskEndsForCertain(t *testing.T) {
	hangUp := func() {}
	store := &readonly{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) {
		c.Store = store
		c.Ask = func(context.Context, refresh.Session) (refresh.Answer, error) {
			hangUp()
			return refresh.Answer{End: true}, nil
		}
	})
	g := s.login(t)
	store.on.Store(true)
	s.refused(t, g, refresh.ErrTryAgain)
	store.on.Store(false)
	s.refused(t, g, refresh.ErrEnded)
	s.dead(t, g)

	g = s.login(t)
	ctx, cancel := context.WithCancel(t.Context())
	hangUp = cancel
	if _, err := s.Refresh(ctx, request(g.RefreshToken())); !errors.Is(err, refresh.ErrEnded) {
		t.Error(err)
	}
	s.dead(t, g)
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
