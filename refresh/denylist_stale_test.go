package refresh

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// A denylist that was proven up to date, and is so no longer, stops refreshes: the session
// may have been revoked meanwhile. They go on when it is proven again, and what was revoked
// meanwhile does not.
func TestDenylistTurnsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := revoketest.NewBus(revoketest.Config{})
		m, member := onBus(t, bus)
		if _, err := bus.Join(revoke.Config{}); err != nil { // who goes on beating
			t.Fatal(err)
		}
		bus.Advance(10 * time.Second)
		g, banned := m.mustLogin(t), m.mustLogin(t)
		refresh := func(g *Grant) (*Grant, error) {
			return m.Refresh(t.Context(), Request{Token: g.RefreshToken(), Client: "web"})
		}
		g, err := refresh(g)
		if err != nil {
			t.Fatal(err)
		}
		member.Partition()
		if _, err := bus.Publish(revoke.Event{Issuer: m.issuer.Issuer, Kind: revoke.KindSession, Value: banned.SessionID}); err != nil {
			t.Fatal(err)
		}
		bus.Advance(member.List().Config().MaxStaleness + time.Second)
		for _, g := range []*Grant{g, banned} {
			if _, err := refresh(g); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, ErrTryAgain) || errors.Is(err, ErrLoginAgain) {
				t.Errorf("while the denylist is stale: %v", err)
			}
		}
		member.Heal()
		bus.Advance(20 * time.Second)
		if _, err := refresh(g); err != nil {
			t.Errorf("once it is proven again: %v", err)
		}
		if _, err := refresh(banned); !errors.Is(err, ErrEnded) {
			t.Errorf("revoked meanwhile: %v", err)
		}
	})
}
