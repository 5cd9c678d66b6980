package revoke_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestReplayFoldsRarely: to read a log costs few folds; once it is read, or reading has
// ended, nothing is left to slow the readers down; and meanwhile no event is missed.
func TestReplayFoldsRarely(t *testing.T) {
	const n = 100_000
	for how, end := range map[string]func(*reader, *tape){
		"read":       func(*reader, *tape) {},
		"broken off": func(r *reader, _ *tape) { r.feed.Broken(r.now, revoke.ReasonDisconnected) },
		"closed":     func(r *reader, _ *tape) { r.feed.Close(r.now) },
	} {
		t.Run(how, func(t *testing.T) {
			r, l := newReplica(t, revoke.Config{}), new(tape)
			ts := r.now.Time()
			for i := range n {
				l.revoke(ts, strconv.Itoa(i))
			}
			info := l.info()
			if how != "read" {
				info.LastSequence++ // and one that will not come
			}
			r.sub = r.feed.Begin(r.now, info)
			for i := range l.messages {
				if err := r.deliver(&l.messages[i], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
				if i == n*9/10 {
					// Whatever the scheduler did: from here on something stays unfolded. A fold
					// under way would not take what is frozen now.
					r.list.WaitFold()
					if r.list.Fold(r.now); r.list.Frozen() > 0 {
						t.Fatal("not folded")
					}
				}
				if i%1000 == 0 && !r.refuses(strconv.Itoa(i)) {
					t.Fatalf("event %d is not obeyed at once", i)
				}
			}
			// Each makes the base half as large again at least: from a thousand on, some
			// eleven do.
			if s := r.list.Stats(r.now); s.Folds > 20 {
				t.Errorf("%d folds", s.Folds)
			}
			if how != "read" && r.list.Frozen() == 0 {
				t.Error("everything is folded while the log is read")
			}
			end(r, l)
			r.list.WaitFold()
			if f := r.list.Frozen(); f > 0 {
				t.Errorf("%d recents are left unfolded", f)
			}
			for i := range n {
				if !r.refuses(strconv.Itoa(i)) {
					t.Fatalf("%d is not refused", i)
				}
			}
			if r.refuses("other") {
				t.Error("another token is refused")
			}
		})
	}
}

// TestSweepDuringReplay: forgetting goes on while folds are put off.
func TestSweepDuringReplay(t *testing.T) {
	r, l := newReplica(t, revoke.Config{}), new(tape)
	r.sub = r.feed.Begin(r.now, replica.LogInfo{Horizons: revoke.DefaultHorizons(), LastSequence: 1 << 20})
	r.pos = 0
	for i := range 4096 {
		l.revoke(r.now.Time(), strconv.Itoa(i))
	}
	if err := r.read(l); err != nil {
		t.Fatal(err)
	}
	r.list.WaitFold()
	for range 3 {
		r.pass(2 * time.Hour)
		l.revoke(r.now.Time(), "later")
		if err := r.read(l); err != nil { // the stream's clock moves on, too
			t.Fatal(err)
		}
		r.refuses("any") // readers find that a sweep is due
		r.list.WaitFold()
	}
	s := r.list.Stats(r.now)
	if n := s.Entries[revoke.KindToken]; n > 1024+3 {
		t.Errorf("%d entries are left of 4096 that expired", n)
	}
}
