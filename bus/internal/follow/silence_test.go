package follow

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A server may be silent for longer while the log is read, where a heartbeat has taken
// long, and each time that was not
// enough; never so while the replica is fresh and none was silent before.
func TestSilenceLimit(t *testing.T) {
	f, _ := newTestFollower(t)
	f.idle = time.Second
	now := revoke.Now()
	for _, c := range []struct {
		behind   bool
		silences int
		round    time.Duration
		want     time.Duration
	}{
		{false, 0, 0, 3 * time.Second}, {false, 1, 0, 6 * time.Second}, {false, 100, 0, time.Minute},
		{true, 0, 0, 12 * time.Second}, {true, 1, 0, 24 * time.Second}, {true, 100, 0, time.Minute},
		{false, 0, time.Second, 3 * time.Second}, {false, 0, 2 * time.Second, 6 * time.Second}, {false, 0, time.Hour, 7500 * time.Millisecond},
	} {
		f.beater.behind, f.silences, f.beater.round = c.behind, c.silences, c.round
		if got := f.silenceLimit(now); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// A timer that fires late says how long this process stood still: for so long no server
// was silent, and none is silent in the time to come.
func TestLateTimerIsNoSilence(t *testing.T) {
	start := revoke.Now()
	at := func(s int) revoke.Instant { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct{ since, due, now, want int }{
		{0, 1, 1, 0}, {0, 1, 21, 20}, {5, 1, 21, 21}, {0, 3, 2, 0},
	} {
		if got := excuse(at(c.since), at(c.due), at(c.now)); got != at(c.want) {
			t.Errorf("%+v: %s", c, mono(start, got))
		}
	}
	if got := excuse(revoke.Instant{}, at(1), at(9)); !got.IsZero() {
		t.Error("zero is no time")
	}
}
