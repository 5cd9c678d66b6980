package refresh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A sealed successor does not rest in the store when its window, and what a retry within
// it may take, have passed, though nobody refreshes the session again (invariant 10).
func TestSealsAreErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLedger()
		s := newSystem(t, func(c *refresh.Config) { c.Store = store })
		g := s.refresh(t, s.login(t))
		time.Sleep(11 * time.Second)
		if n := len(store.holds(`"seal"`)); n != 1 {
			t.Errorf("%d seals within the window", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n := len(store.holds(`"seal"`)); n != 0 {
			t.Errorf("%d seals when it has passed", n)
		}
		s.refresh(t, g)
	})
}

// A rotation forgets no window that has not passed.
func TestRotationLeavesWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t)
		g := s.login(t)
		next := s.refresh(t, g)
		time.Sleep(9 * time.Second)
		next = s.refresh(t, next)
		if again := s.refresh(t, g); again.SessionID != next.SessionID {
			t.Error("another session")
		}
		time.Sleep(2500 * time.Millisecond)
		s.refresh(t, next)
		s.refresh(t, g)
	})
}

// A sealed successor stays for as long as a window is open because of an outage that another
// instance has seen.
func TestSealsOutliveAnotherInstancesOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newKeyed()
		one := newSystem(t, func(c *refresh.Config) { c.Store = store })
		view := &failing{Store: store}
		two := newSystem(t, takeOver(one, view))
		g := one.login(t)
		next := one.refresh(t, g) // its answer is lost
		time.Sleep(4 * time.Second)
		view.down.Store(true)
		for range 12 {
			two.refused(t, g, refresh.ErrStore)
			time.Sleep(1500 * time.Millisecond)
		}
		view.down.Store(false)
		time.Sleep(7 * time.Second) // the time of the first look has passed
		if n := len(store.holding(t, "s.", `"seal"`)); n != 1 {
			t.Errorf("%d seals, 29 s after the rotation", n)
		}
		if again := one.refresh(t, g); again.RefreshToken() != next.RefreshToken() {
			t.Error("another successor")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(store.holding(t, "s.", `"seal"`)); n != 0 {
			t.Errorf("%d seals when the window has passed", n)
		}
	})
}

// A look that comes for one rotation leaves what a later one has sealed: its window is open, or
// was until a moment ago, and a retry that came within it may still be under way.
func TestSealOfALaterRotationStays(t *testing.T) {
	for name, second := range map[string]time.Duration{"its window is open": 20 * time.Second, "it was open a moment ago": 14 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newKeyed()
				s := newSystem(t, func(c *refresh.Config) { c.Store = store })
				g := s.refresh(t, s.login(t))
				time.Sleep(second)
				next := s.refresh(t, g) // its answer is lost
				time.Sleep(28*time.Second - second)
				synctest.Wait() // the look has come for the first
				if n := len(store.holding(t, "s.", `"seal"`)); n != 1 {
					t.Errorf("%d records with a seal", n)
				}
				if second == 20*time.Second {
					if again := s.refresh(t, g); again.RefreshToken() != next.RefreshToken() {
						t.Error("another successor")
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if n := len(store.holding(t, "s.", `"seal"`)); n != 0 {
					t.Errorf("%d records with a seal when all windows have passed", n)
				}
			})
		})
	}
}
