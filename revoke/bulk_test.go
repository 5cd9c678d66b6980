package revoke_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestReplayCompactsRarely: to read a log costs few compactions; once it is read, or reading has
// ended, nothing is left to slow the readers down; and meanwhile no event is missed.
func TestReplayCompactsRarely(t *testing.T) {
	const n = 100_000
	for how, end := range map[string]func(*tape.Reader, *tape.Log){
		"read":       func(*tape.Reader, *tape.Log) {},
		"broken off": func(r *tape.Reader, _ *tape.Log) { r.Feed.Broken(r.Now, revoke.ReasonDisconnected) },
		"closed":     func(r *tape.Reader, _ *tape.Log) { r.Feed.Close(r.Now) },
	} {
		t.Run(how, func(t *testing.T) {
			r, l := tape.NewReader(t, revoke.Config{}), new(tape.Log)
			ts := r.Now.Time()
			for i := range n {
				l.Revoke(ts, strconv.Itoa(i))
			}
			info := l.Info()
			if how != "read" {
				info.LastSequence++ // and one that will not come
			}
			r.Sub = r.Feed.Begin(r.Now, info)
			for i := range l.Messages {
				if err := r.Deliver(&l.Messages[i], uint64(i+1)); err != nil {
					t.Fatal(err)
				}
				if i == n*9/10 {
					// Whatever the scheduler did: from here on something stays to be compacted. A compaction
					// under way would not take what is frozen now.
					r.List.WaitCompaction()
					if r.List.Compact(r.Now); r.List.Frozen() > 0 {
						t.Fatal("not compacted")
					}
				}
				if i%1000 == 0 && !r.Refuses(strconv.Itoa(i)) {
					t.Fatalf("event %d is not obeyed at once", i)
				}
			}
			// Each makes the base half as large again at least: from a thousand on, some
			// eleven do.
			if s := r.List.Stats(r.Now); s.Compactions > 20 {
				t.Errorf("%d compactions", s.Compactions)
			}
			if how != "read" && r.List.Frozen() == 0 {
				t.Error("everything is compacted while the log is read")
			}
			end(r, l)
			r.List.WaitCompaction()
			if f := r.List.Frozen(); f > 0 {
				t.Errorf("%d memtables are left, not compacted", f)
			}
			for i := range n {
				if !r.Refuses(strconv.Itoa(i)) {
					t.Fatalf("%d is not refused", i)
				}
			}
			if r.Refuses("other") {
				t.Error("another token is refused")
			}
		})
	}
}

// TestSweepDuringReplay: forgetting goes on while compactions are put off.
func TestSweepDuringReplay(t *testing.T) {
	r, l := tape.NewReader(t, revoke.Config{}), new(tape.Log)
	r.Sub = r.Feed.Begin(r.Now, replica.LogInfo{Retention: revoke.DefaultRetention(), LastSequence: 1 << 20})
	r.Pos = 0
	for i := range 4096 {
		l.Revoke(r.Now.Time(), strconv.Itoa(i))
	}
	if err := r.Read(l); err != nil {
		t.Fatal(err)
	}
	r.List.WaitCompaction()
	for range 3 {
		r.Pass(2 * time.Hour)
		l.Revoke(r.Now.Time(), "later")
		if err := r.Read(l); err != nil { // the stream's clock moves on, too
			t.Fatal(err)
		}
		r.Refuses("any") // readers find that a sweep is due
		r.List.WaitCompaction()
	}
	s := r.List.Stats(r.Now)
	if n := s.Entries[revoke.KindToken]; n > 1024+3 {
		t.Errorf("%d entries are left of 4096 that expired", n)
	}
}
