package follow

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What the stream would forget by is shown within a minute, logged once, and gone when it
// is mended, sooner since it is looked for more often.
func TestFollowerShowsHazards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, f := followScripted(t, config{Logger: log.Everything()}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		log.Reset()
		for round := range 2 {
			s.Do(func() { s.Info.Config.MaxAge = time.Hour })
			f.isFresh(t, 66*time.Second)
			if st := f.Status(); len(st.Hazards) != 1 || !strings.Contains(st.Hazards[0], "max age") {
				t.Fatalf("hazards %q", st.Hazards)
			}
			f.isFresh(t, 10*time.Minute)
			if n := log.Count("the stream could forget revocations"); n != 1+round {
				t.Errorf("logged %d times", n)
			}
			s.Do(func() { s.Info.Config.MaxAge = 0 })
			f.isFresh(t, 13*time.Second)
			if st := f.Status(); len(st.Hazards) != 0 {
				t.Fatalf("mended: %q", st.Hazards)
			}
			if n := log.Count("as they should be again"); n != 1+round {
				t.Errorf("mended, logged %d times", n)
			}
		}
		if n := f.Status().Subscriptions; n != 1 {
			t.Errorf("%d subscriptions", n)
		}
	})
}

// A mirror is followed as such, and its retention is judged while the subscription lives.
func TestFollowerJudgesTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, config{}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, time.Minute)
		var old map[string]string
		s.Do(func() { old, s.Info.Config.Metadata = s.Info.Config.Metadata, map[string]string{"x": "y"} })
		f.is(t, 66*time.Second, revoke.StateStale, revoke.ReasonBadStream)
		s.Do(func() { s.Info.Config.Metadata = old })
		f.isFresh(t, 13*time.Second)
		if st := f.Status(); st.Subscriptions != 1 || len(st.Hazards) != 0 {
			t.Errorf("%d subscriptions, hazards %q", st.Subscriptions, st.Hazards)
		}
	})
}
