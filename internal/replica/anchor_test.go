package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestReconnectIsAnchored: an ordinary reconnect resumes at the cursor, re-reads one
// record, and makes nobody stale.
func TestReconnectIsAnchored(t *testing.T) {
	r, l := tape.Ready(t)
	r.Pass(time.Second)
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	l.Revoke(r.Now.Time(), "while away")
	r.Pass(time.Second)
	r.Begin(l)
	if !r.Sub.Anchored || r.Sub.Start != 4 {
		t.Fatalf("%+v", r.Sub)
	}
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	p := r.List.Status(r.Now).Proven
	r.Must(r.Read(l))
	if got := r.List.Status(r.Now).Proven; got != p {
		t.Error("the anchor itself moved P")
	}
	if !r.Refuses("while away") {
		t.Error("an event after the anchor is not applied")
	}
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	if s := r.List.Stats(r.Now); s.Replays != 1 || s.AnchorsLost != 0 || s.Applied[revoke.KindToken] != 4 {
		t.Errorf("%+v", s)
	}
}

// TestRolledBackLog: the log was rolled back and written past the cursor. Nothing
// but the anchor can tell; fresh heartbeats must not move P until the whole log was
// read again, and nothing known is forgotten (invariant 3).
func TestRolledBackLog(t *testing.T) {
	r, l := tape.Ready(t)
	l.Revoke(r.Now.Time(), "lost by the log")
	r.Must(r.Read(l))
	l = l.Rollback(2)
	r.Pass(time.Second)
	for i := range 10 {
		l.Revoke(r.Now.Time(), fmt.Sprint("lost stretch", i))
	}
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	p := r.List.Status(r.Now).Proven
	r.Begin(l)
	if !r.Sub.Anchored {
		t.Fatal("not anchored")
	}
	r.Beat(l)
	if err := r.Read(l); !errors.Is(err, replica.ErrAnchor) {
		t.Fatalf("read: %v, want ErrAnchor", err)
	}
	if r.List.Status(r.Now).Proven != p {
		t.Fatal("P moved on a log that is not ours")
	}
	// Late deliveries of the ended subscription change nothing.
	r.Must(r.Deliver(&l.Messages[len(l.Messages)-1], r.N+1))
	if r.List.Status(r.Now).Proven != p {
		t.Fatal("P moved on a dropped delivery")
	}
	r.Pass(time.Millisecond)
	r.Begin(l)
	if r.Sub.Anchored || r.Sub.Start != 1 {
		t.Fatalf("%+v", r.Sub)
	}
	r.Must(r.Read(l))
	if r.List.Status(r.Now).Proven != p {
		t.Fatal("a heartbeat sent before the replay began moved P")
	}
	r.Pass(time.Second)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Want(revoke.StateFresh, revoke.ReasonNone)
	for _, jti := range []string{"old0", "old1", "old2", "lost by the log", "lost stretch0", "lost stretch9"} {
		if !r.Refuses(jti) {
			t.Errorf("%q is not refused", jti)
		}
	}
	if s := r.List.Stats(r.Now); s.AnchorsLost != 1 || s.Replays != 2 {
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
		r, l := tape.Ready(t)
		r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
		r.Begin(l)
		m := &l.Messages[len(l.Messages)-1]
		rec := m.Record(r.Sub.Generation, 1)
		other(&rec)
		err := r.Feed.Heartbeat(r.Now, rec, *m.Beat)
		if lost := errors.Is(err, replica.ErrAnchor); lost != (what != "none") {
			t.Errorf("another %s: error %v", what, err)
		}
	}
}

func TestShorterLogIsReplayed(t *testing.T) {
	r, l := tape.Ready(t)
	l = l.Rollback(1)
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	r.Begin(l)
	if r.Sub.Anchored || r.Sub.Start != 1 {
		t.Fatalf("%+v", r.Sub)
	}
	r.Must(r.Read(l))
	r.Pass(16 * time.Second)
	r.Want(revoke.StateStale, revoke.ReasonRebuilding)
	if !r.Refuses("old2") {
		t.Error("forgotten on rebuild")
	}
}

func TestTwoFailedAnchorsRebuild(t *testing.T) {
	r, l := tape.Ready(t)
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	for i := range 2 {
		// What comes of a slow server or line says nothing of the log, however often.
		for range 5 {
			for _, reason := range []revoke.Reason{revoke.ReasonDisconnected, revoke.ReasonNoHeartbeat, revoke.ReasonNoStream, revoke.ReasonNotPermitted} {
				r.Begin(l)
				if !r.Sub.Anchored {
					t.Fatalf("not anchored after %s", reason)
				}
				r.Feed.Broken(r.Now, reason)
			}
		}
		r.Begin(l)
		if !r.Sub.Anchored {
			t.Fatalf("attempt %d is not anchored", i)
		}
		r.Feed.Broken(r.Now, revoke.ReasonRebuilding) // no first record came
	}
	r.Begin(l)
	if r.Sub.Anchored {
		t.Fatal("a third anchored attempt")
	}
}

// TestGapEndsTheSubscription: each delivery must follow its predecessor, though
// sequences may have holes.
func TestGapEndsTheSubscription(t *testing.T) {
	r, l := tape.Ready(t)
	l.Seq += 5 // a hole where messages expired
	l.Revoke(r.Now.Time(), "after a hole")
	r.Must(r.Read(l))
	l.Revoke(r.Now.Time(), "lost in flight")
	l.Revoke(r.Now.Time(), "after the loss")
	r.Beat(l)
	n := len(l.Messages)
	p := r.List.Status(r.Now).Proven
	if err := r.Deliver(&l.Messages[n-2], r.N+2); !errors.Is(err, replica.ErrGap) {
		t.Fatalf("%v, want ErrGap", err)
	}
	if r.Refuses("after the loss") {
		t.Error("applied in spite of the gap")
	}
	r.Must(r.Deliver(&l.Messages[n-1], r.N+3)) // dropped
	if r.List.Status(r.Now).Proven != p {
		t.Fatal("P moved across a gap")
	}
	r.Begin(l)
	r.Must(r.Read(l))
	if !r.Refuses("lost in flight") || !r.Refuses("after the loss") {
		t.Error("the gap was not healed")
	}
	if s := r.List.Stats(r.Now); s.Gaps != 1 {
		t.Errorf("%+v", s)
	}
	// The same place twice is no order either.
	if err := r.Deliver(&l.Messages[n-1], r.N+1); !errors.Is(err, replica.ErrGap) {
		t.Errorf("a repeated sequence: %v", err)
	}
}

func TestGenerations(t *testing.T) {
	r, l := tape.Ready(t)
	old := r.Sub
	r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
	r.Begin(l)
	r.Must(r.Read(l))
	l.Revoke(r.Now.Time(), "late")
	m := &l.Messages[len(l.Messages)-1]
	r.Must(r.Feed.Event(r.Now, m.Record(old.Generation, r.N+1), *m.Event))
	if r.Refuses("late") {
		t.Error("a record of an ended subscription was applied")
	}
	r.Must(r.Read(l))
	if !r.Refuses("late") {
		t.Error("the good twin is not applied")
	}
}
