package replica_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 1 and its assumption: another's heartbeat proves no more than it may, however
// late it comes, as long as its sender's clock is at most MaxSkew ahead. This is also where
// the assumption ends, as docs/oncall.md says it: a clock that is ahead by more, of a heartbeat
// that is late by about as much in a subscription that goes on all the while, makes P up to
// min(lateness, lead) − MaxSkew too young. An own heartbeat, and a subscription begun since,
// know no such limit.
func TestLateHeartbeatOfAClockAhead(t *testing.T) {
	const skew = 2 * time.Second // the default
	for _, ahead := range []time.Duration{-time.Minute, 0, time.Second, skew, skew + time.Millisecond, 5 * time.Second, time.Minute, time.Hour} {
		for _, late := range []time.Duration{0, time.Second, skew, 3 * time.Second, 4 * time.Second, 57 * time.Second, time.Minute, 2 * time.Minute, time.Hour - skew, 2 * time.Hour} {
			for _, again := range []bool{false, true} {
				r, l := tape.Ready(t)
				r.Pass(3 * time.Hour)
				before := r.List.Status(r.Now).Proven
				sent := r.Now
				r.OtherBeat(l, ahead)
				r.Pass(late)
				if again {
					r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
					r.Begin(l)
				}
				r.Must(r.Read(l))
				p := r.List.Status(r.Now).Proven
				excess := p.Since(sent)
				switch {
				case again, ahead > skew && late < ahead-skew:
					if p != before {
						t.Errorf("ahead by %s, late by %s, subscribed again %v: P moved", ahead, late, again)
					}
				case ahead <= skew:
					if excess > 0 {
						t.Errorf("ahead by %s, late by %s: P is %s after the sending", ahead, late, excess)
					}
				case excess != min(late, ahead)-skew:
					t.Errorf("ahead by %s, late by %s: P is %s after the sending, not %s as is documented", ahead, late, excess, min(late, ahead)-skew)
				}
			}
		}
	}
	r, l := tape.Ready(t)
	r.Pass(3 * time.Hour)
	sent := r.Now
	r.Beat(l)
	r.Pass(2 * time.Hour)
	r.Must(r.Read(l))
	if p := r.List.Status(r.Now).Proven; p != sent {
		t.Errorf("an own heartbeat proves %s more than its sending", p.Since(sent))
	}
}
