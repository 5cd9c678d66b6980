package publish

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// An event expires when our clock and the server's both say so; nobody's guess counts
// before the server has spoken.
func TestServerClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPublisher()
		if now := p.now(); !now.IsZero() {
			t.Errorf("nobody has told the time, and it is %s", now)
		}
		for ahead, want := range map[time.Duration]time.Duration{ // of our clock
			0: 0, 365 * 24 * time.Hour: -365 * 24 * time.Hour, time.Minute: -time.Minute, -time.Hour: 0,
		} {
			p.clock.set(time.Now().Add(-ahead), revoke.Now())
			for range 2 {
				if d := time.Until(p.now()); (d - want).Abs() > time.Millisecond {
					t.Errorf("ahead by %s: it is %s from now, want %s", ahead, d, want)
				}
				time.Sleep(10 * time.Hour) // its clock goes on with ours
			}
		}
		p.clock.set(time.Time{}, revoke.Now()) // an old server says nothing
		if d := time.Until(p.now()); d != 0 {
			t.Errorf("without the server's clock it is %s from now", d)
		}
		p = newTestPublisher()
		for i, step := range []struct {
			ahead   time.Duration
			changed bool
		}{{time.Second, false}, {time.Hour, true}, {2 * time.Hour, false}, {-time.Hour, false}, {0, true}} {
			if changed := p.clock.set(time.Now().Add(-step.ahead), revoke.Now()); changed != step.changed {
				t.Errorf("step %d: changed is %v", i, changed)
			}
		}
	})
}
