package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// While an own heartbeat is under way behind a replay, the next waits as long as that one
// has, so that reading a log for ten minutes takes two dozen of them, not four hundred. Anyone who
// is fresh, or has read all there is, or has none under way, is held back by nothing.
func TestHeartbeatsHeldBack(t *testing.T) {
	f, _ := newTestFollower(t)
	h := &f.beater
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
	if err := f.feed.Heartbeat(now, replica.Record{Generation: 1, Delivery: 1, Sequence: 1, Time: now.Time()}, replica.Heartbeat{Nonce: nonce, Time: now.Time()}); err != nil {
		t.Fatal(err)
	}
	if f.list.Status(now).State != revoke.StateFresh {
		t.Fatal("not fresh")
	}
	if d := h.hold(now); d > 0 {
		t.Errorf("held back for %s while fresh", d)
	}
}

// The beater goes by that pause: no heartbeat is sent in it, but for a barrier, which asked
// for one.
func TestHeartKeepsThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, config{})
		defer f.b.end()
		h := &f.beater
		h.behind = true
		f.beat(10 * time.Minute)
		if n := h.sent.Load(); n < 10 || n > 30 {
			t.Fatalf("%d heartbeats in ten minutes of replay", n)
		}
		for h.hold(revoke.Now()) <= time.Second {
			f.beat(time.Second)
		}
		before := h.sent.Load()
		if d, hold := h.in(revoke.Now()), h.hold(revoke.Now()); d != hold || h.sent.Load() != before {
			t.Errorf("the next after %s, held back for %s, %d sent", d, hold, h.sent.Load()-before)
		}
		h.asked = true
		if h.in(revoke.Now()); h.sent.Load() != before+1 {
			t.Errorf("%d sent for a barrier", h.sent.Load()-before)
		}
	})
}
