package refresh_test

import (
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
