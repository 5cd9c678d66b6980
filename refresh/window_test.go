package refresh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// Invariant 8: the window is Grace and MaxSkew, to the millisecond.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		window := refresh.Web.Grace + 2*time.Second
		s := newSystem(t)

		g := s.login(t)
		next := s.refresh(t, g)
		time.Sleep(window)
		s.refresh(t, s.refresh(t, g))
		s.refresh(t, next) // the same successor: its use is a retry, too

		g = s.login(t)
		s.refresh(t, g)
		time.Sleep(window + time.Millisecond)
		s.refused(t, g, refresh.ErrReused)
		s.dead(t, g)
	})
}
