package replica_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestOwnHeartbeatProvesItsSending: P is when it was sent, however late it arrives.
func TestOwnHeartbeatProvesItsSending(t *testing.T) {
	r, l := tape.Ready(t)
	r.Pass(5 * time.Second)
	sent := r.Now
	r.Beat(l)
	r.Pass(14 * time.Second)
	r.Must(r.Read(l))
	if s := r.List.Status(r.Now); s.Proven != sent || s.Age != 14*time.Second || s.State != revoke.StateFresh {
		t.Fatalf("%+v, want proven %v", s, sent)
	}
	r.Pass(1001 * time.Millisecond)
	r.Want(revoke.StateStale, revoke.ReasonNoHeartbeat)
}

func TestAnothersHeartbeat(t *testing.T) {
	for _, c := range []struct {
		name        string
		skew, delay time.Duration
		age         time.Duration // after delivery; 0: proves nothing new
		seen        bool
		future      bool
	}{
		{"in step", 0, 10 * time.Millisecond, 10*time.Millisecond + 2*time.Second, true, false},
		{"a little ahead", time.Second, 0, 2 * time.Second, true, false},
		{"as far ahead as clocks may differ", 2 * time.Second, 0, 2 * time.Second, true, false},
		{"as late as is seen", 0, 3 * time.Second, 5 * time.Second, true, false},
		{"late", 0, 6 * time.Second, 8 * time.Second, false, false},
		{"its clock an hour behind", -time.Hour, 0, 0, false, false},
		{"its clock an hour ahead", time.Hour, 0, 0, false, true},
		{"just from the future", 2*time.Second + time.Millisecond, 0, 0, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := tape.Ready(t)
			r.Feed.BeatIn(r.Now) // the one due after subscribing
			r.Pass(10 * time.Second)
			before := r.List.Status(r.Now).Proven
			due := r.Feed.BeatIn(r.Now) // overdue: begins the wait anew
			if due != 0 {
				t.Fatalf("no heartbeat is due after 10 s of silence: %s", due)
			}
			r.OtherBeat(l, c.skew)
			r.Pass(c.delay)
			r.Must(r.Read(l))
			s := r.List.Status(r.Now)
			if c.age == 0 {
				if s.Proven != before {
					t.Errorf("P moved by %s", s.Proven.Since(before))
				}
			} else if s.Age != c.age {
				t.Errorf("age %s, want %s", s.Age, c.age)
			}
			stats := r.List.Stats(r.Now)
			if (stats.FutureHeartbeats == 1) != c.future {
				t.Errorf("%d heartbeats from the future", stats.FutureHeartbeats)
			}
			// One that is seen silences this member for at least an interval.
			if in := r.Feed.BeatIn(r.Now); c.seen && in < time.Second {
				t.Errorf("beats in %s though one was seen", in)
			} else if !c.seen && in > 0 && c.delay > 2*time.Second {
				t.Errorf("silenced for %s", in)
			}
		})
	}
}

// TestHeartbeatOfAnyYear: what a heartbeat says of its time is arithmetic on a
// stranger's number. Nothing it says moves P past the present.
func TestHeartbeatOfAnyYear(t *testing.T) {
	// Around 2⁶³ ns from now arithmetic in nanoseconds wraps.
	const wrap = math.MaxInt64 / int64(time.Millisecond)
	for _, uptime := range []time.Duration{time.Millisecond, time.Second, 5 * time.Second, time.Hour} {
		for _, ahead := range []int64{1 << 53, wrap - 1, wrap, wrap + 1, wrap + 2, wrap + 100, wrap + 3000, wrap + 30_000, 2 * wrap, -wrap} {
			r, l := tape.NewReader(t, revoke.Config{MaxSkew: 10 * time.Second, MaxStaleness: 30 * time.Second}), &tape.Log{Skew: 10 * time.Second}
			r.Now.Mono = int64(uptime)
			r.Begin(l)
			l.Append(r.Now.Time(), tape.Message{Beat: &replica.Heartbeat{Time: time.UnixMilli(r.Now.Time().UnixMilli() + ahead)}})
			r.Must(r.Read(l))
			s := r.List.Status(r.Now)
			if s.Proven.Mono > r.Now.Mono || s.State == revoke.StateFresh {
				t.Errorf("up for %s, a heartbeat %d ms ahead: %+v", uptime, ahead, s)
			}
			r.Pass(time.Minute)
			if s := r.List.Status(r.Now); s.State == revoke.StateFresh {
				t.Errorf("up for %s, a heartbeat %d ms ahead: still %+v a minute later", uptime, ahead, s)
			}
		}
	}
}

// TestNobodyIsSilencedIntoStaleness: a member whose clock is as slow as is allowed
// beats for everybody, under settings that leave its proofs little time. Anyone who
// they would leave stale beats as well.
func TestNobodyIsSilencedIntoStaleness(t *testing.T) {
	for _, cfg := range []revoke.Config{
		{},
		{MaxStaleness: 5 * time.Second},
		{MaxSkew: 6 * time.Second, MaxStaleness: 9 * time.Second},
		{MaxSkew: 10 * time.Second, MaxStaleness: 15 * time.Second},
	} {
		r := tape.NewReader(t, cfg)
		skew := r.List.Config().MaxSkew
		l := &tape.Log{Skew: skew}
		r.Begin(l)
		own := 0
		for tick := range 1200 {
			if r.Feed.BeatIn(r.Now) <= 0 {
				r.Beat(l)
				own++
			}
			if tick%10 == 0 {
				r.OtherBeat(l, -skew)
			}
			r.Must(r.Read(l))
			r.Pass(100 * time.Millisecond)
			if s := r.List.Status(r.Now); tick > 0 && s.State != revoke.StateFresh {
				t.Fatalf("%+v: %s (%s), age %s after %d ticks", cfg, s.State, s.Reason, s.Age, tick)
			}
		}
		if cfg == (revoke.Config{}) && own > 3 {
			t.Errorf("by default %d own heartbeats beside another's", own)
		}
	}
}

// TestProvenNeverMovesBack, whatever the order of heartbeats.
func TestProvenNeverMovesBack(t *testing.T) {
	r, l := tape.Ready(t)
	r.Pass(time.Minute) // or the late one would be from before the replay
	var late tape.Message
	{
		var l2 tape.Log
		r.OtherBeat(&l2, -10*time.Second)
		late = l2.Messages[0]
	}
	r.Beat(l)
	r.Must(r.Read(l))
	p := r.List.Status(r.Now).Proven
	l.Append(r.Now.Time(), tape.Message{Beat: late.Beat})
	r.Must(r.Read(l))
	if got := r.List.Status(r.Now).Proven; got != p {
		t.Fatalf("P moved from %v to %v", p, got)
	}
	// A duplicate of an own heartbeat counts once: its nonce is no secret any more.
	own := l.Messages[len(l.Messages)-2]
	r.Pass(10 * time.Second)
	l.Append(r.Now.Time(), own)
	r.Must(r.Read(l))
	if got := r.List.Status(r.Now).Proven; got != p {
		t.Fatalf("a replayed heartbeat moved P from %v to %v", p, got)
	}
}

// TestHeartbeatsBeforeTheReplayProveNothing: sent before the replay began, one shows
// nothing of what was written to the log since.
func TestHeartbeatsBeforeTheReplayProveNothing(t *testing.T) {
	r, l := tape.Ready(t)
	r.Pass(5 * time.Second)
	r.Beat(l) // own, under way
	r.Pass(time.Second)
	l2 := &tape.Log{Seq: 100, Messages: nil} // made anew, higher sequences
	l2.Revoke(r.Now.Time(), "new")
	l2.Append(r.Now.Time(), tape.Message{Beat: l.Messages[len(l.Messages)-1].Beat})
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	p := r.List.Status(r.Now).Proven
	r.Begin(l2)
	if err := r.Read(l2); !errors.Is(err, replica.ErrAnchor) {
		t.Fatal(err)
	}
	r.Begin(l2)
	r.Must(r.Read(l2))
	if r.List.Status(r.Now).Proven != p {
		t.Fatal("a heartbeat sent before the replay moved P")
	}
	r.Beat(l2)
	r.Must(r.Read(l2))
	if r.List.Status(r.Now).Proven == p {
		t.Fatal("a heartbeat sent after the replay began does not move P")
	}
}

// A server that is overloaded returns all heartbeats too late to silence anybody.
// Members then beat the more rarely, or it would never recover; lost ones, as in the
// election of a leader, make nobody wait, and the first that is quick again ends it.
func TestHeartbeatsYieldToCongestion(t *testing.T) {
	for _, c := range []struct {
		name        string
		round       time.Duration
		least, most time.Duration // until the next
	}{
		{"quick", 10 * time.Millisecond, time.Second, 2 * time.Second},
		{"slow", 5 * time.Second, 5 * time.Second, 10 * time.Second},
		{"too slow to be waited for", time.Minute, 7500 * time.Millisecond, 15 * time.Second},
		{"quick again", time.Millisecond, time.Second, 2 * time.Second},
		{"lost", 0, time.Second, 2 * time.Second},
	} {
		l := &tape.Log{}
		r := tape.NewReader(t, revoke.Config{})
		r.Begin(l)
		if c.name == "quick again" {
			r.Beat(l)
			r.Now = r.Now.Add(5 * time.Second)
			if err := r.Read(l); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			r.Feed.BeatIn(r.Now)
			r.Beat(l)
			if c.round > 0 {
				r.Now = r.Now.Add(c.round)
				if err := r.Read(l); err != nil {
					t.Fatal(err)
				}
			}
			r.Now = r.Now.Add(15 * time.Second) // whatever the patience was
			if d := r.Feed.BeatIn(r.Now); d != 0 {
				t.Fatalf("%s: no heartbeat is due after 15 s, but in %s", c.name, d)
			}
			if d := r.Feed.BeatIn(r.Now); d < c.least || d > c.most {
				t.Errorf("%s: the next heartbeat in %s, want %s to %s", c.name, d, c.least, c.most)
			}
		}
	}
}

// Where own heartbeats are that late, another's of the same lateness is no sign of a
// clock that is off, and silences as well; where they are not, it is.
func TestLateHeartbeatsSilenceInCongestion(t *testing.T) {
	for _, c := range []struct {
		round   time.Duration
		silence bool
	}{{5 * time.Second, true}, {10 * time.Millisecond, false}} {
		l := &tape.Log{}
		r := tape.NewReader(t, revoke.Config{})
		r.Begin(l)
		r.Feed.BeatIn(r.Now)
		r.Beat(l)
		r.Now = r.Now.Add(c.round)
		if err := r.Read(l); err != nil {
			t.Fatal(err)
		}
		before := r.List.Stats(r.Now).SkewedHeartbeats
		r.Now = r.Now.Add(20 * time.Second) // one is due
		l.Append(r.Now.Time(), tape.Message{Beat: &replica.Heartbeat{Nonce: [16]byte{9}, Time: r.Now.Add(-5 * time.Second).Time(), Name: "other"}})
		if err := r.Read(l); err != nil {
			t.Fatal(err)
		}
		if d := r.Feed.BeatIn(r.Now); (d > 0) != c.silence {
			t.Errorf("own heartbeats take %s: the next in %s", c.round, d)
		}
		if skewed := r.List.Stats(r.Now).SkewedHeartbeats - before; (skewed == 0) != c.silence {
			t.Errorf("own heartbeats take %s: %d counted as skewed", c.round, skewed)
		}
	}
}

// The same holds while the first own heartbeat is still under way: of many who join at
// once none has anything else to go by. One that came back quickly ends it.
func TestLateHeartbeatsSilenceWhileOwnIsUnderWay(t *testing.T) {
	for _, back := range []bool{false, true} {
		l := &tape.Log{}
		r := tape.NewReader(t, revoke.Config{})
		r.Begin(l)
		r.Feed.BeatIn(r.Now)
		own := &tape.Log{}
		r.Beat(own) // sent, and not in the log that is read
		if back {
			r.Beat(l)
			if err := r.Read(l); err != nil {
				t.Fatal(err)
			}
		}
		r.Now = r.Now.Add(6 * time.Second) // one is due
		l.Append(r.Now.Time(), tape.Message{Beat: &replica.Heartbeat{Nonce: [16]byte{9}, Time: r.Now.Add(-5 * time.Second).Time(), Name: "other"}})
		if err := r.Read(l); err != nil {
			t.Fatal(err)
		}
		if d := r.Feed.BeatIn(r.Now); (d == 0) != back {
			t.Errorf("an own one came back: %t; the next in %s", back, d)
		}
	}
}

// The heartbeats that a replay meets are old by nature; only those sent since it began
// tell of a clock that is off.
func TestReplayIsNoClockSkew(t *testing.T) {
	r := tape.NewReader(t, revoke.Config{})
	l := &tape.Log{}
	beat := func(at time.Time) {
		l.Append(at, tape.Message{Beat: &replica.Heartbeat{Nonce: [16]byte{byte(l.Seq + 1)}, Time: at}})
	}
	for i := range 5 {
		beat(r.Now.Time().Add(time.Duration(i-10) * time.Minute))
	}
	r.Begin(l)
	if err := r.Read(l); err != nil {
		t.Fatal(err)
	}
	if s := r.List.Status(r.Now); s.Reason != revoke.ReasonReplaying {
		t.Errorf("old heartbeats: %s", s.Reason)
	}
	l.Append(r.Now.Time(), tape.Message{Beat: &replica.Heartbeat{Nonce: [16]byte{9}, Time: r.Now.Time().Add(-10 * time.Minute)}})
	if err := r.Read(l); err != nil {
		t.Fatal(err)
	}
	if s := r.List.Status(r.Now); s.Reason != revoke.ReasonClockSkew {
		t.Errorf("a member whose clock is slow: %s", s.Reason)
	}
}
