package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A pace lets through a burst at once and then one in every so often, for each session by
// itself.
func TestPace(t *testing.T) {
	p := pace{every: time.Second, burst: 3}
	now := revoke.Now()
	allowed := func(sid string, n int) (sum int) {
		for range n {
			if p.allow(sid, now) {
				sum++
			}
		}
		return sum
	}
	if n := allowed("a", 10); n != 3 {
		t.Errorf("%d at once", n)
	}
	now = now.Add(999 * time.Millisecond)
	if n := allowed("a", 1); n != 0 {
		t.Errorf("%d before the second is over", n)
	}
	now = now.Add(time.Millisecond)
	if n := allowed("a", 10); n != 1 {
		t.Errorf("%d after a second", n)
	}
	if n := allowed("b", 10); n != 3 {
		t.Errorf("%d of another session", n)
	}
	now = now.Add(time.Hour)
	if n := allowed("a", 10); n != 3 {
		t.Errorf("%d after an hour", n)
	}
}

// It remembers no more sessions than it may, no matter who asks.
func TestPaceIsBounded(t *testing.T) {
	p := pace{every: time.Hour, burst: 1}
	now := revoke.Now()
	for i := range 3 * maxPaces {
		if !p.allow(fmt.Sprint(i), now) {
			t.Fatal("a new session is refused")
		}
		if len(p.next) > maxPaces {
			t.Fatalf("%d sessions are remembered", len(p.next))
		}
	}
	if p.allow(fmt.Sprint(3*maxPaces-1), now) {
		t.Error("the latest is forgotten")
	}
}

// A wall clock that was ahead by hours for a moment, and is right again, holds nobody up: who
// asks for a session that the store does not show could otherwise not log it out until the
// clock has come to where it was (nor one whose store is down).
func TestPaceOfAWallClockThatIsSetBack(t *testing.T) {
	p := pace{every: time.Second, burst: 3}
	now := revoke.Now()
	ahead := now
	ahead.Wall += int64(3 * time.Hour)
	for range 3 {
		if !p.allow("a", ahead) {
			t.Fatal("refused at once")
		}
	}
	if p.allow("a", now) {
		t.Error("a fourth at the same moment, since the clock was set back")
	}
	if now = now.Add(3 * time.Second); !p.allow("a", now) {
		t.Error("refused three seconds later")
	}
}
