package revoke

import (
	"testing"
	"time"
)

// While no own heartbeat was read nothing is known of the log server's clock, whatever other
// members' say and wherever this process's is set: it is not called off.
func TestClockThatWasNeverRead(t *testing.T) {
	l, err := NewList(Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	now := Now()
	l.clockAgrees(now)
	for _, set := range []time.Duration{0, time.Hour, -time.Hour} {
		at := now
		at.Wall += int64(set)
		if off := l.ClockOff(at); off != 0 {
			t.Errorf("set by %s it is off by %s", set, off)
		}
	}
}
