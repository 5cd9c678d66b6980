package replica_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/internal/snapshot"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// placed returns a replica that has read a log, the log, and the place of an own heartbeat
// in it.
func placed(t *testing.T) (*tape.Reader, *tape.Log, *snapshot.Log) {
	t.Helper()
	w, l := tape.Ready(t)
	w.Pass(time.Second)
	w.Beat(l)
	w.Must(w.Read(l))
	p, ok := w.Feed.Place()
	if !ok || p.Sequence != l.Seq || len(p.Anchors) != 1 || len(p.Digest.Groups) == 0 {
		t.Fatalf("place %+v, %t", p, ok)
	}
	return w, l, &p
}

// resumed returns a replica of the same moment that goes on at p.
func resumed(t *testing.T, w *tape.Reader, p *snapshot.Log) *tape.Reader {
	t.Helper()
	r := tape.NewReader(t, revoke.Config{})
	r.Now = w.Now
	r.Must(r.Feed.Resume(p))
	return r
}

// Who goes on at a place reads the anchor and the tail, and then attests the same content as
// who has read all of the log: the digest covers what stands before the place, too.
func TestResume(t *testing.T) {
	w, l, p := placed(t)
	for i := range 5 {
		l.Revoke(w.Now.Time(), fmt.Sprint("tail", i))
	}
	r := resumed(t, w, p)
	r.Begin(l)
	if r.Sub.Start != p.Sequence || !r.Sub.Anchored {
		t.Fatalf("it subscribes at %d, anchored %t; the place is at %d", r.Sub.Start, r.Sub.Anchored, p.Sequence)
	}
	r.Must(r.Read(l))
	r.Is(revoke.StateSyncing, "after the tail, before a heartbeat")
	if r.N != 6 {
		t.Errorf("%d records were delivered, want the anchor and 5", r.N)
	}
	if !r.Refuses("tail4") {
		t.Error("what the tail revokes passes")
	}
	w.Must(w.Read(l))
	for _, x := range []*tape.Reader{r, w} {
		x.Pass(time.Second)
	}
	r.Beat(l)
	r.Must(r.Read(l))
	w.Must(w.Read(l))
	r.Is(revoke.StateFresh, "after a heartbeat behind the tail")
	if d := r.Feed.Digest(); d != w.Feed.Digest() || d.Count < 8 {
		t.Errorf("digest %+v, of who has read all %+v", d, w.Feed.Digest())
	}
	if s := r.Stats(); s.Replays != 0 || s.AnchorsLost != 0 {
		t.Errorf("%d replays, %d anchors lost", s.Replays, s.AnchorsLost)
	}
}

// No heartbeat sent before the subscription began makes a replica fresh, be it its own of a
// subscription before.
func TestResumeProvesNothing(t *testing.T) {
	w, l, p := placed(t)
	r := resumed(t, w, p)
	w.OtherBeat(l, 0) // in the tail
	r.Beat(l)
	r.Pass(time.Second)
	r.Begin(l)
	r.Must(r.Read(l))
	r.Is(revoke.StateSyncing, "after heartbeats of before")
	r.Pass(time.Second)
	r.OtherBeat(l, 0)
	r.Must(r.Read(l))
	r.Is(revoke.StateSyncing, "after one that is younger than the subscription by less than MaxSkew")
	r.Pass(3 * time.Second)
	r.OtherBeat(l, 0)
	r.Must(r.Read(l))
	r.Is(revoke.StateFresh, "after one that was sent since")
}

// A log that does not hold the anchor is read from its start, and what it holds counts:
// another record there, none, or a log that ends before.
func TestResumeOnAnotherLog(t *testing.T) {
	t.Run("another record", func(t *testing.T) {
		w, l, p := placed(t)
		other := l.Rollback(p.Sequence - 1)
		other.Revoke(w.Now.Time(), "rewritten")
		other.Revoke(w.Now.Time(), "after")
		refusedPlace(t, w, other, p)
	})
	t.Run("expired", func(t *testing.T) {
		w, l, p := placed(t)
		l.Messages = l.Messages[:len(l.Messages)-1]
		l.Revoke(w.Now.Time(), "rewritten")
		l.Revoke(w.Now.Time(), "after")
		refusedPlace(t, w, l, p)
	})
	t.Run("shorter", func(t *testing.T) {
		w, l, p := placed(t)
		other := l.Rollback(1)
		other.Revoke(w.Now.Time(), "rewritten")
		other.Revoke(w.Now.Time(), "after")
		refusedPlace(t, w, other, p)
	})
}

func refusedPlace(t *testing.T, w *tape.Reader, l *tape.Log, p *snapshot.Log) {
	t.Helper()
	r := resumed(t, w, p)
	r.Begin(l)
	if r.Sub.Anchored {
		if err := r.Read(l); !errors.Is(err, replica.ErrAnchor) {
			t.Fatalf("another log: %v", err)
		}
		r.Begin(l)
	}
	if r.Sub.Start != 1 || r.Sub.Anchored {
		t.Fatalf("it goes on at %d, anchored %t", r.Sub.Start, r.Sub.Anchored)
	}
	r.Must(r.Read(l))
	r.Pass(time.Second)
	r.Beat(l)
	r.Must(r.Read(l))
	r.Is(revoke.StateFresh, "after a replay")
	if !r.Refuses("rewritten") || !r.Refuses("after") {
		t.Error("what the log revokes passes")
	}
	fresh := tape.NewReader(t, revoke.Config{})
	fresh.Now = r.Now
	fresh.Begin(l)
	fresh.Must(fresh.Read(l))
	if d := r.Feed.Digest(); d != fresh.Feed.Digest() || d.Sequence == 0 {
		t.Errorf("digest %+v, of who has read the log alone %+v", d, fresh.Feed.Digest())
	}
	if s := r.Stats(); s.AnchorsLost != 1 || s.Replays != 1 {
		t.Errorf("%d anchors lost, %d replays", s.AnchorsLost, s.Replays)
	}
}

// A replica that has read something goes on from there, not from a place.
func TestResumeComesFirst(t *testing.T) {
	w, l, p := placed(t)
	if err := w.Feed.Resume(p); err == nil {
		t.Error("a replica that has read the log was moved")
	}
	r := tape.NewReader(t, revoke.Config{})
	if _, ok := r.Feed.Place(); ok {
		t.Error("a replica that has read nothing has a place")
	}
	r.Begin(l)
	if err := r.Feed.Resume(p); err == nil {
		t.Error("a subscription that is open was moved")
	}
	r.Feed.Close(r.Now)
	if err := r.Feed.Resume(p); err == nil {
		t.Error("a feed that is closed was moved")
	}
}

// Who is told that others hold another log has no place to offer.
func TestNoPlaceWhileDisputed(t *testing.T) {
	w, l, _ := placed(t)
	d := w.Feed.Digest()
	w.DigestBeat(l, lie(d))
	w.Must(w.Read(l))
	if _, ok := w.Feed.Place(); ok {
		t.Error("a place while a digest differs")
	}
	w.DigestBeat(l, truth(d))
	w.Must(w.Read(l))
	if _, ok := w.Feed.Place(); !ok {
		t.Error("no place, although the last digest agrees")
	}
}

// What is no place of a log whose digests this version knows is none to go on from.
func TestResumeRefuses(t *testing.T) {
	for what, spoil := range map[string]func(*snapshot.Log){
		"nowhere":             func(l *snapshot.Log) { *l = snapshot.Log{} },
		"no anchor":           func(l *snapshot.Log) { l.Anchors = nil },
		"an anchor elsewhere": func(l *snapshot.Log) { l.Sequence++ },
		"no digest":           func(l *snapshot.Log) { l.Digest = snapshot.Digest{} },
		"other digests":       func(l *snapshot.Log) { l.Digest.Algorithm++ },
	} {
		_, l, p := placed(t)
		spoil(p)
		r := tape.NewReader(t, revoke.Config{})
		if err := r.Feed.Resume(p); err == nil {
			t.Errorf("%s: accepted", what)
		}
		if r.Begin(l); r.Sub.Start != 1 {
			t.Errorf("%s: it begins at %d", what, r.Sub.Start)
		}
	}
}
