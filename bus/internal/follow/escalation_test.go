package follow

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

func testEscalation(t *testing.T) escalation {
	l, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return newEscalation(l.Config(), time.Second)
}

// The first step is taken while the replica is fresh; later ones ever more rarely,
// but for ever.
func TestEscalationPauses(t *testing.T) {
	for range 100 {
		l := testEscalation(t)
		now := revoke.Now()
		for step := range 100 {
			least := min(7500*time.Millisecond<<min(step, 16), maxPatience)
			d := l.in(now)
			if most := least + least/4; d < least || d > most || step == 0 && d > 14*time.Second {
				t.Fatalf("step %d in %s, want between %s and %s", step, d, least, most)
			}
			now = now.Add(d)
			if l.in(now) > 0 {
				t.Fatalf("step %d: not due when it was said to be", step)
			}
			if got := l.climb(now); got != step {
				t.Fatalf("step %d, want %d", got, step)
			}
		}
	}
}

// Sixty-four followers of one server do not climb at once.
func TestEscalationJitter(t *testing.T) {
	now := revoke.Now()
	seen := map[time.Duration]bool{}
	for range 64 {
		l := testEscalation(t)
		seen[l.in(now).Truncate(100*time.Millisecond)] = true
	}
	if len(seen) < 8 {
		t.Errorf("64 followers climb at only %d different times", len(seen))
	}
}

// A heartbeat ends the climb; a new connection, or records of a long replay, only put
// the next step off.
func TestEscalationHears(t *testing.T) {
	l := testEscalation(t)
	now := revoke.Now()
	l.in(now)
	l.climb(now)
	l.climb(now)
	for range 1000 {
		now = now.Add(time.Second)
		l.restart(now)
		if l.in(now) < 30*time.Second {
			t.Fatal("the third step is not put off by records")
		}
	}
	if l.step != 2 {
		t.Fatalf("step %d after a replay, want 2", l.step)
	}
	l.heard(now)
	if l.step != 0 || l.in(now) > 10*time.Second {
		t.Errorf("step %d in %s after a heartbeat", l.step, l.in(now))
	}
}

// Who is still reading the log does not begin it again, however often it stops. Who got
// nowhere since the last step does, once, as does who comes to a stand later.
func TestEscalationLetsReplaysGoOn(t *testing.T) {
	l := testEscalation(t)
	now := revoke.Now()
	for step := range 10 {
		l.advance(now)
		if got := l.climb(now); got == rewind || got == 0 != (step == 0) {
			t.Fatalf("step %d of a replay that goes on: %d", step, got)
		}
	}
	for i, want := range []bool{true, false, false} {
		if got := l.climb(now) == rewind; got != want {
			t.Fatalf("step %d at a stand reads from the start: %t", i, got)
		}
	}
	l.heard(now)
	l.advance(now)
	l.heard(now) // which completes it
	if first, second := l.climb(now), l.climb(now); first != 0 || second != rewind {
		t.Errorf("after a heartbeat steps %d and %d", first, second)
	}
}
