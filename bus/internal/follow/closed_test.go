package follow

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A follower that will never apply anything again says so.
func TestStatusOfTheClosed(t *testing.T) {
	f, _ := newTestFollower(t)
	f.dead = make(chan struct{})
	if s := f.Status(); s.Closed || !s.BeatAt.IsZero() {
		t.Errorf("%+v", s)
	}
	now := revoke.Now()
	f.note(func(r *report) { r.beat, r.beater, r.err = now, "other", errNoBeats })
	close(f.dead)
	if s := f.Status(); !s.Closed || !s.BeatAt.Equal(now.Time()) || s.Beater != "other" || s.Err != errNoBeats || s.level().err != errNoBeats.Error() || !s.level().closed {
		t.Errorf("%+v", s)
	}
}

// An answer that could not be sent is counted as dropped, and no other.
func TestAnswersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, config{})
		a := newAnnouncer(t)
		a.t = f.t
		a.answer("_INBOX.a.1", wire.OutcomeWaiting, time.Time{})
		if a.answered.Load() != 1 || a.dropped.Load() != 0 {
			t.Errorf("%d answered, %d dropped", a.answered.Load(), a.dropped.Load())
		}
		f.b.end()
		a.answer("_INBOX.a.1", wire.OutcomeWaiting, time.Time{})
		if a.answered.Load() != 1 || a.dropped.Load() != 1 {
			t.Errorf("closed: %d answered, %d dropped", a.answered.Load(), a.dropped.Load())
		}
	})
}
