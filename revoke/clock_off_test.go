package revoke_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// A replica knows when this process's clock is off, from the time at which the log's server
// stored its own heartbeats; a server whose clock is off alone is outvoted by the members.
func TestClockOff(t *testing.T) {
	hour := 61 * time.Minute
	for name, c := range map[string]struct {
		mine, server time.Duration
		alone        bool
		least, most  time.Duration
	}{
		"right":                        {},
		"right, alone":                 {alone: true},
		"within MaxSkew":               {mine: 1900 * time.Millisecond},
		"within MaxSkew behind":        {mine: -1900 * time.Millisecond},
		"just above, alone":            {mine: 2100 * time.Millisecond, alone: true, least: 2 * time.Second, most: 2100 * time.Millisecond},
		"just above behind, alone":     {mine: -2100 * time.Millisecond, alone: true, least: -2100 * time.Millisecond, most: -2 * time.Second},
		"an hour ahead":                {mine: hour, least: hour - time.Second, most: hour},
		"an hour behind":               {mine: -hour, least: -hour, most: time.Second - hour},
		"an hour ahead, alone":         {mine: hour, alone: true, least: hour - time.Second, most: hour},
		"the server an hour ahead":     {server: hour},
		"the server an hour behind":    {server: -hour},
		"the server an hour, alone":    {server: -hour, alone: true, least: hour - time.Second, most: hour},
		"the server and this one, too": {mine: hour, server: hour},
	} {
		t.Run(name, func(t *testing.T) {
			bus := revoketest.NewBus(revoketest.Config{})
			join := func() *revoketest.Member {
				m, err := bus.Join(revoke.Config{})
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			m := join()
			if !c.alone {
				join()
				join()
			}
			if off := m.List().ClockOff(m.Now()); off != 0 {
				t.Errorf("off by %s before anything is known", off)
			}
			bus.SetSkew(c.server)
			m.SetSkew(c.mine)
			bus.Advance(10 * time.Second)
			within := func(when string, least, most time.Duration) {
				t.Helper()
				if off := m.List().ClockOff(m.Now()); off < least || off > most {
					t.Errorf("%s: off by %s, want %s to %s", when, off, least, most)
				}
			}
			within("from the start", c.least, c.most)
			m.SetSkew(0)
			bus.SetSkew(0)
			bus.Advance(10 * time.Second)
			within("mended", 0, 0)
			if c.server == 0 {
				// It is set while the process runs, and shows at once.
				m.SetSkew(c.mine)
				within("set", c.least-time.Second, c.most+time.Second)
				bus.Advance(10 * time.Second)
				within("set, later", c.least, c.most)
				m.SetSkew(0)
				bus.Advance(10 * time.Second)
			}
			// Nor is a laptop's that has slept.
			m.Suspend()
			bus.Advance(hour)
			m.Resume()
			bus.Advance(10 * time.Second)
			within("slept", 0, 0)
		})
	}
}

// A clock that moves within MaxSkew of the others' goes on agreeing with them, however far it
// has moved in sum; the server, whose clock is off, stays outvoted.
func TestClockMovesWithinMaxSkew(t *testing.T) {
	bus := revoketest.NewBus(revoketest.Config{})
	var members []*revoketest.Member
	for range 3 {
		m, err := bus.Join(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	m := members[0]
	bus.SetSkew(-61 * time.Minute)
	for _, skew := range []time.Duration{-1900 * time.Millisecond, 1900 * time.Millisecond, -1900 * time.Millisecond} {
		m.SetSkew(skew)
		bus.Advance(30 * time.Second)
		if off := m.List().ClockOff(m.Now()); off != 0 {
			t.Errorf("%s from the others': off by %s", skew, off)
		}
	}
}
