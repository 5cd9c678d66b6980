package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A hangingUp store has the caller hang up once it has decided.
type hangingUp struct {
	refresh.Store
	prefix string // of the key whose writing is waited for
	cancel func()
}

func (h *hangingUp) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := h.Store.Save(ctx, key, value, revision, expires)
	if strings.HasPrefix(key, h.prefix) && h.cancel != nil {
		h.cancel()
		h.cancel = nil
	}
	return n, err
}

// A strict bus publishes for nobody who has hung up.
type strict struct{ *system }

func (p strict) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return revoke.Receipt{}, err
	}
	return p.system.Publish(ctx, e)
}

// Invariant 9: who hangs up after the store has decided keeps nothing from being told.
func TestHangUpAfterTheDecision(t *testing.T) {
	for name, c := range map[string]struct {
		prefix string
		do     func(context.Context, *system, *refresh.Grant) error
	}{
		"Logout": {"s.", func(ctx context.Context, s *system, g *refresh.Grant) error { return s.Logout(ctx, g.SessionID) }},
		"LogoutAll": {"u.", func(ctx context.Context, s *system, g *refresh.Grant) error {
			_, err := s.LogoutAll(ctx, g.Subject)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			store := &hangingUp{Store: refresh.NewMemoryStore(), prefix: c.prefix}
			bus := &strict{}
			s := newSystem(t, func(cfg *refresh.Config) { cfg.Store, cfg.Publisher = store, bus })
			bus.system = s
			g := s.login(t)
			ctx, cancel := context.WithCancel(t.Context())
			store.cancel = cancel
			if err := c.do(ctx, s, g); err != nil || ctx.Err() == nil {
				t.Errorf("%v, hung up: %v", err, ctx.Err())
			}
			s.dead(t, g)
			s.refused(t, g, refresh.ErrEnded)
		})
	}
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

// A subject's record outlives its sessions, which no logout everywhere would find, and
// what a logout everywhere has still to do.
func TestSubjectOutlivesItsSessions(t *testing.T) {
	store := newLedger()
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	until := func() (at time.Time) {
		for key, x := range store.expires {
			if strings.HasPrefix(key, "u.") {
				at = x
			}
		}
		return at
	}
	g := s.login(t)
	if at := until(); at.Before(g.SessionExpires) {
		t.Errorf("until %s, a session until %s", at, g.SessionExpires)
	}
	s.fail = errors.New("bus down")
	if _, err := s.LogoutAll(t.Context(), g.Subject); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	if at, least := until(), time.Now().Add(s.list.Config().SessionLifetime-time.Minute); at.Before(least) {
		t.Errorf("pending, until %s, want %s", at, least)
	}
}
