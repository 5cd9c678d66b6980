package refresh_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
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
