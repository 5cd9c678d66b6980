package revoke_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestReconnectIsAnchored: an ordinary reconnect resumes at the cursor, re-reads one
// record, and makes nobody stale.
func TestReconnectIsAnchored(t *testing.T) {
	r, l := ready(t)
	r.pass(time.Second)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.want(revoke.StateFresh, revoke.ReasonNone)
	l.revoke(r.now.Time(), "while away")
	r.pass(time.Second)
	r.begin(l)
	if !r.sub.Anchored || r.sub.Start != 4 {
		t.Fatalf("%+v", r.sub)
	}
	r.want(revoke.StateFresh, revoke.ReasonNone)
	p := r.list.Status(r.now).Proven
	r.must(r.read(l))
	if got := r.list.Status(r.now).Proven; got != p {
		t.Error("the anchor itself moved P")
	}
	if !r.refuses("while away") {
		t.Error("an event after the anchor is not applied")
	}
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	if s := r.list.Stats(r.now); s.Replays != 1 || s.AnchorsLost != 0 || s.Applied[revoke.KindToken] != 4 {
		t.Errorf("%+v", s)
	}
}

// TestRolledBackLog: the log was rolled back and written past the cursor. Nothing
// but the anchor can tell; fresh heartbeats must not move P until the whole log was
// read again, and nothing known is forgotten (invariant 3).
func TestRolledBackLog(t *testing.T) {
	r, l := ready(t)
	l.revoke(r.now.Time(), "lost by the log")
	r.must(r.read(l))
	l = l.rollback(2)
	r.pass(time.Second)
	for i := range 10 {
		l.revoke(r.now.Time(), fmt.Sprint("lost stretch", i))
	}
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	p := r.list.Status(r.now).Proven
	r.begin(l)
	if !r.sub.Anchored {
		t.Fatal("not anchored")
	}
	r.beat(l)
	if err := r.read(l); !errors.Is(err, replica.ErrAnchor) {
		t.Fatalf("read: %v, want ErrAnchor", err)
	}
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved on a log that is not ours")
	}
	// Late deliveries of the ended subscription change nothing.
	r.must(r.deliver(&l.messages[len(l.messages)-1], r.n+1))
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved on a dropped delivery")
	}
	r.pass(time.Millisecond)
	r.begin(l)
	if r.sub.Anchored || r.sub.Start != 1 {
		t.Fatalf("%+v", r.sub)
	}
	r.must(r.read(l))
	if r.list.Status(r.now).Proven != p {
		t.Fatal("a heartbeat sent before the replay began moved P")
	}
	r.pass(time.Second)
	r.beat(l)
	r.must(r.read(l))
	r.want(revoke.StateFresh, revoke.ReasonNone)
	for _, jti := range []string{"old0", "old1", "old2", "lost by the log", "lost stretch0", "lost stretch9"} {
		if !r.refuses(jti) {
			t.Errorf("%q is not refused", jti)
		}
	}
	if s := r.list.Stats(r.now); s.AnchorsLost != 1 || s.Replays != 2 {
		t.Errorf("%+v", s)
	}
}

// TestAnchorIsTheVeryRecord: place, server timestamp and content must all agree.
func TestAnchorIsTheVeryRecord(t *testing.T) {
	for what, other := range map[string]func(*replica.Record){
		"none":      func(*replica.Record) {},
		"sequence":  func(r *replica.Record) { r.Sequence++ },
		"timestamp": func(r *replica.Record) { r.Time = r.Time.Add(time.Nanosecond) },
		"subject":   func(r *replica.Record) { r.Subject += "." },
		"content":   func(r *replica.Record) { r.Data[len(r.Data)-1] ^= 1 },
	} {
		r, l := ready(t)
		r.feed.Broken(r.now, revoke.ReasonDisconnected)
		r.begin(l)
		m := &l.messages[len(l.messages)-1]
		rec := m.record(r.sub.Generation, 1)
		other(&rec)
		err := r.feed.Heartbeat(r.now, rec, *m.beat)
		if lost := errors.Is(err, replica.ErrAnchor); lost != (what != "none") {
			t.Errorf("another %s: error %v", what, err)
		}
	}
}

func TestShorterLogIsReplayed(t *testing.T) {
	r, l := ready(t)
	l = l.rollback(1)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.begin(l)
	if r.sub.Anchored || r.sub.Start != 1 {
		t.Fatalf("%+v", r.sub)
	}
	r.must(r.read(l))
	r.pass(16 * time.Second)
	r.want(revoke.StateStale, revoke.ReasonRebuilding)
	if !r.refuses("old2") {
		t.Error("forgotten on rebuild")
	}
}

func TestTwoFailedAnchorsRebuild(t *testing.T) {
	r, l := ready(t)
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	for i := range 2 {
		// What comes of a slow server or line says nothing of the log, however often.
		for range 5 {
			for _, reason := range []revoke.Reason{revoke.ReasonDisconnected, revoke.ReasonNoHeartbeat, revoke.ReasonNoStream, revoke.ReasonNotPermitted} {
				r.begin(l)
				if !r.sub.Anchored {
					t.Fatalf("not anchored after %s", reason)
				}
				r.feed.Broken(r.now, reason)
			}
		}
		r.begin(l)
		if !r.sub.Anchored {
			t.Fatalf("attempt %d is not anchored", i)
		}
		r.feed.Broken(r.now, revoke.ReasonRebuilding) // no first record came
	}
	r.begin(l)
	if r.sub.Anchored {
		t.Fatal("a third anchored attempt")
	}
}

// TestGapEndsTheSubscription: each delivery must follow its predecessor, though
// sequences may have holes.
func TestGapEndsTheSubscription(t *testing.T) {
	r, l := ready(t)
	l.seq += 5 // a hole where messages expired
	l.revoke(r.now.Time(), "after a hole")
	r.must(r.read(l))
	l.revoke(r.now.Time(), "lost in flight")
	l.revoke(r.now.Time(), "after the loss")
	r.beat(l)
	n := len(l.messages)
	p := r.list.Status(r.now).Proven
	if err := r.deliver(&l.messages[n-2], r.n+2); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("%v, want ErrGap", err)
	}
	if r.refuses("after the loss") {
		t.Error("applied in spite of the gap")
	}
	r.must(r.deliver(&l.messages[n-1], r.n+3)) // dropped
	if r.list.Status(r.now).Proven != p {
		t.Fatal("P moved across a gap")
	}
	r.begin(l)
	r.must(r.read(l))
	if !r.refuses("lost in flight") || !r.refuses("after the loss") {
		t.Error("the gap was not healed")
	}
	if s := r.list.Stats(r.now); s.Gaps != 1 {
		t.Errorf("%+v", s)
	}
	// The same place twice is no order either.
	if err := r.deliver(&l.messages[n-1], r.n+1); !errors.Is(err, replica.ErrGap) {
		t.Errorf("a repeated sequence: %v", err)
	}
}

func TestGenerations(t *testing.T) {
	r, l := ready(t)
	old := r.sub
	r.feed.Broken(r.now, revoke.ReasonDisconnected)
	r.begin(l)
	r.must(r.read(l))
	l.revoke(r.now.Time(), "late")
	m := &l.messages[len(l.messages)-1]
	r.must(r.feed.Event(r.now, m.record(old.Generation, r.n+1), *m.event))
	if r.refuses("late") {
		t.Error("a record of an ended subscription was applied")
	}
	r.must(r.read(l))
	if !r.refuses("late") {
		t.Error("the good twin is not applied")
	}
}
