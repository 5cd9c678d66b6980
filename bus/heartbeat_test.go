package bus

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// While an own heartbeat is under way behind a replay, the next waits as long as that one
// has, so that reading a log for ten minutes takes two dozen of them, not four hundred. Whoever
// is fresh, or has read all there is, or has none under way, is held back by nothing.
func TestHeartbeatsHeldBack(t *testing.T) {
	f, _ := newTestFollower(t)
	h := &f.heart
	h.interval = time.Second
	began := revoke.Now()
	h.first, h.last, h.behind = began, began, true
	sent, now := 1, began
	for mono(began, now) < 10*time.Minute {
		now = now.Add(100 * time.Millisecond)
		d := h.hold(now)
		if d > maxHold {
			t.Fatalf("held back for %s", d)
		}
		if d <= 0 {
			sent++
			h.last = now
		}
	}
	if sent < 10 || sent > 30 {
		t.Errorf("%d heartbeats in ten minutes of replay", sent)
	}
	h.last = now
	if h.hold(now) <= 0 {
		t.Fatal("not held back to begin with")
	}
	h.behind = false
	if d := h.hold(now); d > 0 {
		t.Errorf("held back for %s at the end of the log", d)
	}
	h.behind, h.first = true, revoke.Instant{}
	if d := h.hold(now); d > 0 {
		t.Errorf("held back for %s with none under way", d)
	}
	h.first = began
	nonce := [16]byte{1}
	f.feed.Sent(now, nonce)
	if err := f.feed.Heartbeat(now, revoke.Record{Generation: 1, Delivery: 1, Sequence: 1, Time: now.Time()}, revoke.Heartbeat{Nonce: nonce, Time: now.Time()}); err != nil {
		t.Fatal(err)
	}
	if f.list.Status(now).State != revoke.Fresh {
		t.Fatal("not fresh")
	}
	if d := h.hold(now); d > 0 {
		t.Errorf("held back for %s while fresh", d)
	}
}

// A server may be silent for longer while the log is read, and each time that was not
// enough; never so while the replica is fresh and none was silent before.
func TestSilenceLimit(t *testing.T) {
	f, _ := newTestFollower(t)
	f.idle = time.Second
	now := revoke.Now()
	for _, c := range []struct {
		behind   bool
		silences int
		want     time.Duration
	}{
		{false, 0, 3 * time.Second}, {false, 1, 6 * time.Second}, {false, 100, time.Minute},
		{true, 0, 12 * time.Second}, {true, 1, 24 * time.Second}, {true, 100, time.Minute},
	} {
		f.heart.behind, f.silences = c.behind, c.silences
		if got := f.silenceLimit(now); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
