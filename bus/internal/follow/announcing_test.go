package follow

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A replica that may not listen says so once, tries again after ten minutes, and is then
// as good as any; one whose answers are refused goes on listening.
func TestAnnouncingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Everything()})
		defer b.end()
		s.Do(func() { s.DenySub, s.Carries = wire.AppliedSubject, true })
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.follow(list)
		if err != nil {
			t.Fatal(err)
		}
		f.isFresh(t, 5*time.Second)
		if a := f.Announcement(); a.Listening || !errors.Is(a.Err, nats.ErrPermissionViolation) {
			t.Errorf("%+v", a)
		}
		f.isFresh(t, 9*time.Minute)
		s.Do(func() { s.DenySub = "" })
		f.isFresh(t, 30*time.Second)
		if f.Announcement().Listening {
			t.Error("tries again too soon")
		}
		f.isFresh(t, 31*time.Second)
		if a := f.Announcement(); !a.Listening || a.Err != nil {
			t.Errorf("mended: %+v", a)
		}
		if n := log.Count("not announced"); n != 1 {
			t.Errorf("told %d times", n)
		}
		log.Reset()
		q := wire.Question{Sequence: 1 << 40, Wait: time.Minute}
		ask := func(inbox string) {
			t.Helper()
			if err := b.NATS().PublishMsg(&nats.Msg{Subject: wire.AppliedSubject, Reply: inbox, Data: wire.EncodeQuestion(q)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		s.Do(func() { s.Deny = "_INBOX.victim" })
		ask("_INBOX.victim.1")
		a := f.Announcement()
		if !a.Listening || !errors.Is(a.Err, nats.ErrPermissionViolation) || a.Answered != 1 || log.Count("is refused") != 1 {
			t.Errorf("%+v, logged %s", a, &log)
		}
		ask("_INBOX.victim.2")
		ask("_INBOX.other.1")
		if a := f.Announcement(); a.Dropped != 1 || a.Answered != 2 || a.Err == nil || log.Count("is refused") != 1 {
			t.Errorf("%+v", a)
		}
		f.isFresh(t, announceAgain)
		if a := f.Announcement(); a.Err != nil || !a.Listening {
			t.Errorf("later: %+v", a)
		}
		s.Do(func() { s.Deny = "" })
		ask("_INBOX.victim.3")
		if a := f.Announcement(); a.Dropped != 1 || a.Answered != 3 {
			t.Errorf("%+v", a)
		}
		f.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		gone := map[string]int{}
		s.Do(func() {
			for _, m := range s.Others {
				if a, ok := wire.DecodeAnswer(m.Data); ok && a.Outcome == wire.OutcomeGone {
					gone[m.Subject]++
				}
			}
		})
		if len(gone) != 2 || gone["_INBOX.other.1"] != 1 || gone["_INBOX.victim.3"] != 1 {
			t.Errorf("farewells to %v", gone)
		}
		if f.Announcement().Listening {
			t.Error("closed, and listening")
		}
	})
}

// A replica gives 500 answers at once and 500 a second, no matter who asks.
func TestAnswersAreRationed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, config{})
		defer f.b.end()
		a := newAnnouncer(t)
		a.t, a.cfg = f.t, &f.cfg
		m := &nats.Msg{Reply: "_INBOX.x.1", Data: wire.EncodeQuestion(wire.Question{Sequence: 1, Wait: time.Second})}
		for range 3 {
			for range answerBurst + 7 {
				a.take(m)
			}
			if n, d := a.answered.Load(), a.dropped.Load(); n != answerBurst || d != 7 {
				t.Fatalf("%d answered, %d dropped", n, d)
			}
			a.answered.Store(0)
			a.dropped.Store(0)
			time.Sleep(100 * time.Millisecond)
			for range answerRate/10 + 3 {
				a.take(m)
			}
			if n, d := a.answered.Load(), a.dropped.Load(); n != answerRate/10 || d != 3 {
				t.Fatalf("in a tenth of a second %d answered, %d dropped", n, d)
			}
			a.answered.Store(0)
			a.dropped.Store(0)
			time.Sleep(time.Hour)
		}
		for i, m := range []*nats.Msg{{Reply: "_INBOX.x.1", Data: []byte("{}")}, {Reply: "revocations.v1.x", Data: m.Data}, {Data: m.Data}} {
			if a.take(m); a.dropped.Load() != uint64(i+1) || a.answered.Load() != 0 {
				t.Errorf("%q is answered", m.Reply)
			}
		}
		for i := range 3 * maxAskers {
			a.take(&nats.Msg{Reply: "_INBOX." + strings.Repeat("y", i+1) + ".1", Data: m.Data})
		}
		if len(a.askers) != maxAskers || a.askers[maxAskers-1] != "_INBOX."+strings.Repeat("y", 3*maxAskers)+".1" || a.askers[0] != "_INBOX."+strings.Repeat("y", 2*maxAskers+1)+".1" {
			t.Errorf("%d askers: %q", len(a.askers), a.askers)
		}
	})
}
