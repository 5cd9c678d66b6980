package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// questions returns the questions that were asked of replicas.
func (s *scripted) questions(t *testing.T) (list []wire.Question) {
	t.Helper()
	s.do(func() {
		for _, m := range s.others {
			if m.Subject == wire.AppliedSubject {
				q, ok := wire.DecodeQuestion(m.Data)
				if !ok {
					t.Errorf("no question: %s", m.Data)
				}
				list = append(list, q)
			}
		}
	})
	return list
}

// another returns one more Follower of the Member.
func (f *followed) another(t *testing.T) *follower {
	t.Helper()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.b.follow(list)
	if err != nil {
		t.Fatal(err)
	}
	other.isFresh(t, 5*time.Second)
	return other
}

// All who announce themselves confirm, within the time of the roll call; each is named
// with its delay, and asked once.
func TestRevokeAndWaitForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, Config{Name: "orders"}, revoke.Config{})
		defer f.b.end()
		other := f.another(t)
		for _, replicas := range []int{0, 2, 1} {
			before, began := len(s.questions(t)), time.Now()
			r, err := f.b.revokeAndWait(t.Context(), sessionEvent(replicas), WaitConfig{Replicas: replicas})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			took := time.Since(began)
			if replicas == 0 && took != defaultRoll || replicas > 0 && took > 0 {
				t.Errorf("%d: took %s", replicas, took)
			}
			list := s.questions(t)[before:]
			if n := len(list); n != 1+len(list[1:]) || replicas == 0 && n != 2 || replicas > 0 && n != 1 {
				t.Errorf("%d: asked %d times", replicas, n)
			}
			for _, q := range list {
				if q.Wait != 4*time.Second || q.Sequence != r.Sequence {
					t.Errorf("question %+v about %d", q, r.Sequence)
				}
			}
			if len(r.Replicas) < max(replicas, 1) || r.EffectiveBy != r.Time.Add(15*time.Second) || r.Ignored != 0 || r.ID == "" {
				t.Errorf("%+v", r)
			}
			for _, x := range r.Replicas[:max(replicas, 1)] {
				if !x.Applied || x.Name != "orders" || x.Delay <= 0 || x.Delay > time.Second || x.State != revoke.StateFresh || x.MaxStaleness != 15*time.Second || x.Problem != "" || x.AppliedAt.IsZero() {
					t.Errorf("%+v", x)
				}
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, f := range []*follower{f.follower, other} {
			if a := f.rollCall(); !a.Listening || a.Answered < 3 || a.Dropped != 0 || a.Err != nil {
				t.Errorf("%+v", a)
			}
		}
	})
}

// Who does not confirm is named; the wait ends with MaxStaleness or its context, asks ever
// more rarely meanwhile, and the event is acknowledged all the same.
func TestRevokeAndWaitInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, Config{Name: "orders"}, revoke.Config{})
		defer f.b.end()
		f.another(t)
		began := time.Now()
		r, err := f.b.revokeAndWait(t.Context(), sessionEvent(1), WaitConfig{Replicas: 3})
		if !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), "2 of 3 replicas confirmed within MaxStaleness") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 15*time.Second || r.Sequence == 0 || len(r.Replicas) != 2 {
			t.Errorf("after %s: %+v", took, r)
		}
		if n := len(s.questions(t)); n != 10 { // at 0, 0.2, 0.6, 1.4, 3, 5, 7 … 13 s
			t.Errorf("asked %d times in 15 s", n)
		}
		s.do(func() { s.mute = true }) // the log stands still, and who was heard lately is waited for
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began = time.Now()
		r, err = f.b.revokeAndWait(ctx, sessionEvent(2), WaitConfig{})
		if !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `0 of 2 replicas confirmed (missing ["orders" "orders"])`) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 2*time.Second || len(r.Replicas) != 2 || r.Replicas[0].Applied || r.Replicas[0].Problem != "not applied yet" || r.Replicas[0].Delay != 0 {
			t.Errorf("after %s: %+v", took, r)
		}
		s.do(func() { s.mute = false })
		f.isFresh(t, 30*time.Second)
		if _, err := f.b.revokeAndWait(t.Context(), sessionEvent(3), WaitConfig{}); err != nil {
			t.Errorf("mended: %v", err)
		}
	})
}

// Nobody there is noticed after two seconds, or the roll call if that is longer; a replica
// that was closed is not waited for; one that was killed is.
func TestRevokeAndWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := followScripted(t, Config{}, revoke.Config{})
		defer f.b.end()
		if _, err := f.b.revokeAndWait(t.Context(), sessionEvent(0), WaitConfig{}); err != nil {
			t.Fatal(err)
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
		for _, roll := range []time.Duration{0, 5 * time.Second} {
			began := time.Now()
			r, err := f.b.revokeAndWait(t.Context(), sessionEvent(1), WaitConfig{RollCall: roll})
			if !errors.Is(err, ErrUnconfirmed) || !strings.Contains(err.Error(), "no replica announces itself") || r.Sequence == 0 || len(r.Replicas) != 0 {
				t.Errorf("%v, %+v", err, r)
			}
			if took := time.Since(began); took < max(roll, nobodyPatience) || took > max(roll, nobodyPatience)+maxAskPause {
				t.Errorf("after %s", took)
			}
		}
		s.do(func() { s.deny = wire.AppliedSubject })
		if _, err := f.b.revokeAndWait(t.Context(), sessionEvent(2), WaitConfig{}); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), "replicas may not be asked") {
			t.Errorf("no right to ask: %v", err)
		}
		if _, err := f.b.revokeAndWait(t.Context(), sessionEvent(3), WaitConfig{Replicas: -1}); err == nil || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("%v", err)
		}
		f.b.close()
		if r, err := f.b.revokeAndWait(t.Context(), sessionEvent(4), WaitConfig{}); !errors.Is(err, ErrClosed) || r.Sequence != 0 || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// Closing the Member ends a wait.
func TestCloseEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := followScripted(t, Config{}, revoke.Config{})
		defer f.b.end()
		f.isFresh(t, 5*time.Second)
		done := make(chan error, 1)
		go func() {
			_, err := f.b.revokeAndWait(t.Context(), sessionEvent(1), WaitConfig{Replicas: 9})
			done <- err
		}()
		time.Sleep(time.Second)
		f.b.close()
		if err := <-done; !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// A replica that may not listen says so once, tries again after ten minutes, and is then
// as good as any; one whose answers are refused goes on listening.
func TestAnnouncingIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log pages
		s, b := newScripted(t, Config{Logger: log.everything()})
		defer b.end()
		s.do(func() { s.denySub, s.carries = wire.AppliedSubject, true })
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.follow(list)
		if err != nil {
			t.Fatal(err)
		}
		f.isFresh(t, 5*time.Second)
		if a := f.rollCall(); a.Listening || !errors.Is(a.Err, nats.ErrPermissionViolation) {
			t.Errorf("%+v", a)
		}
		f.isFresh(t, 9*time.Minute)
		s.do(func() { s.denySub = "" })
		f.isFresh(t, 30*time.Second)
		if f.rollCall().Listening {
			t.Error("tries again too soon")
		}
		f.isFresh(t, 31*time.Second)
		if a := f.rollCall(); !a.Listening || a.Err != nil {
			t.Errorf("mended: %+v", a)
		}
		if n := log.count("not announced"); n != 1 {
			t.Errorf("told %d times", n)
		}
		log.reset()
		q := wire.Question{Sequence: 1 << 40, Wait: time.Minute}
		ask := func(inbox string) {
			t.Helper()
			if err := b.nc().PublishMsg(&nats.Msg{Subject: wire.AppliedSubject, Reply: inbox, Data: wire.EncodeQuestion(q)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		s.do(func() { s.deny = "_INBOX.victim" })
		ask("_INBOX.victim.1")
		a := f.rollCall()
		if !a.Listening || !errors.Is(a.Err, nats.ErrPermissionViolation) || a.Answered != 1 || log.count("is refused") != 1 {
			t.Errorf("%+v, logged %s", a, &log)
		}
		ask("_INBOX.victim.2")
		ask("_INBOX.other.1")
		if a := f.rollCall(); a.Dropped != 1 || a.Answered != 2 || a.Err == nil || log.count("is refused") != 1 {
			t.Errorf("%+v", a)
		}
		f.isFresh(t, announceAgain)
		if a := f.rollCall(); a.Err != nil || !a.Listening {
			t.Errorf("later: %+v", a)
		}
		s.do(func() { s.deny = "" })
		ask("_INBOX.victim.3")
		if a := f.rollCall(); a.Dropped != 1 || a.Answered != 3 {
			t.Errorf("%+v", a)
		}
		f.close()
		time.Sleep(time.Second)
		synctest.Wait()
		gone := map[string]int{}
		s.do(func() {
			for _, m := range s.others {
				if a, ok := wire.DecodeAnswer(m.Data); ok && a.Outcome == wire.OutcomeGone {
					gone[m.Subject]++
				}
			}
		})
		if len(gone) != 2 || gone["_INBOX.other.1"] != 1 || gone["_INBOX.victim.3"] != 1 {
			t.Errorf("farewells to %v", gone)
		}
		if f.rollCall().Listening {
			t.Error("closed, and listening")
		}
	})
}

// A replica gives 500 answers at once and 500 a second, to whomever.
func TestAnswersAreRationed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := beatingFollower(t, Config{})
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
