package revoketest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// A story is one short history, told by hand.
type story struct {
	t *testing.T
	b *revoketest.Bus
}

func (s *story) join() *revoketest.Member {
	s.t.Helper()
	m, err := s.b.Join(revoke.Config{})
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// fresh joins a member and lets it come into step.
func (s *story) fresh() *revoketest.Member {
	s.t.Helper()
	m := s.join()
	s.b.Advance(time.Second)
	if st := m.Status(); st.State != revoke.StateFresh {
		s.t.Fatalf("not fresh to begin with: %+v", st)
	}
	return m
}

func (s *story) publish(e revoke.Event) {
	s.t.Helper()
	e.Issuer = iss
	if _, err := s.b.Publish(e); err != nil {
		s.t.Fatal(err)
	}
}

// end ends sessions.
func (s *story) end(sids ...string) {
	s.t.Helper()
	for _, sid := range sids {
		s.publish(revoke.Event{Kind: revoke.KindSession, Value: sid, Until: s.b.Now().Add(time.Hour)})
	}
}

func (s *story) session(sid string) revoke.Identity {
	return revoke.Identity{Issuer: iss, Session: sid, IssuedAt: s.b.Now()}
}

// watch checks an identity for so long, ten times a second; the bus judges the answers.
func (s *story) watch(m *revoketest.Member, id revoke.Identity, d time.Duration) {
	for range d / (100 * time.Millisecond) {
		s.b.Advance(100 * time.Millisecond)
		_ = m.Check(id, revoke.Deny())
	}
}

// refuses is how each of these histories ends: by knowing, not by not knowing.
func (s *story) refuses(m *revoketest.Member, id revoke.Identity) {
	s.t.Helper()
	if err := m.Check(id, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
		s.t.Errorf("%+v: %v, want it refused", id, err)
	}
}

// cutOff has the member's link fail and the member notice.
func (s *story) cutOff(m *revoketest.Member) {
	m.Partition()
	s.b.Advance(5 * time.Second)
}

func (s *story) rolledBack(lost int, unseen ...string) {
	m := s.fresh()
	s.end("a", "b", "c")
	s.b.Settle()
	s.cutOff(m)
	s.b.Rollback(lost)
	s.end(unseen...)
	m.Heal()
	s.watch(m, s.session(unseen[0]), 3*time.Second)
	s.refuses(m, s.session(unseen[0]))
	s.refuses(m, s.session("c")) // of the log that was
}

func (s *story) appliedLate() {
	m := s.fresh()
	s.end("last")
	s.watch(m, s.session("last"), 3*time.Second)
	s.refuses(m, s.session("last"))
}

// datedAhead is about a token that is dated as far ahead as a login may be, by an issuer
// whose clock is ahead by MaxSkew, when its subject is revoked.
func (s *story) datedAhead() {
	m := s.fresh()
	id := revoke.Identity{Issuer: iss, Subject: "u", IssuedAt: s.b.Now(), MintedAt: s.b.Now().Add(4 * time.Second)}
	later := id
	later.MintedAt = id.MintedAt.Add(2 * time.Millisecond)
	s.publish(revoke.Event{Kind: revoke.KindSubject, Value: "u"})
	s.watch(m, id, 3*time.Second)
	s.refuses(m, id)
	if err := m.Check(later, revoke.Deny()); err != nil {
		s.t.Errorf("dated after the cutoff: %v", err)
	}
}

// farAway is about a member that beats for nobody, far away from another whose clock
// is off by that.
func (s *story) farAway(skew time.Duration) {
	other, m := s.join(), s.join()
	other.SetSkew(skew)
	m.Silence(true)
	m.Delay(6 * time.Second)
	s.watch(m, s.session("far"), 20*time.Second)
	s.end("far")
	s.watch(m, s.session("far"), 7*time.Second)
	s.refuses(m, s.session("far"))
}

// mirrored joins a member behind the mirror and lets it come into step.
func (s *story) mirrored() *revoketest.Member {
	s.t.Helper()
	m, err := s.b.JoinMirror(revoke.Config{})
	if err != nil {
		s.t.Fatal(err)
	}
	m.Silence(true)
	s.b.Advance(10 * time.Second)
	if st := m.Status(); st.State != revoke.StateFresh {
		s.t.Fatalf("not fresh to begin with: %+v", st)
	}
	return m
}

// forked has the log restored from a backup behind a mirror's back, and go on past what
// the mirror holds.
func (s *story) forked() {
	s.fresh()
	m := s.mirrored()
	s.end("a", "b", "c")
	s.b.Settle()
	s.b.Rollback(2)
	s.end("unseen", "x", "y", "z")
	s.watch(m, s.session("unseen"), time.Minute)
	if st := m.Status(); st.State != revoke.StateStale || st.Reason != revoke.ReasonFork {
		s.t.Errorf("the replica behind the mirror is %s (%s), want stale (fork)", st.State, st.Reason)
	}
	s.refuses(m, s.session("c")) // of the log that was
	s.b.RemakeMirror()
	s.watch(m, s.session("unseen"), 10*time.Second)
	s.refuses(m, s.session("unseen"))
	if err := m.Check(s.session("good"), revoke.Deny()); err != nil {
		s.t.Errorf("after the mirror was remade: %v", err)
	}
}

// directed are histories that each planted fault fails at once, by name; beside the
// random ones, which find them too, they tell a person what each fault does.
var directed = map[string]func(s *story){
	// The log was rolled back and written past the member's place: what stands there is
	// another message, and the one before it was never seen.
	"no anchor": func(s *story) { s.rolledBack(2, "unseen", "x", "y", "z") },

	// The same, and what was not seen stands at the very place.
	"resume after the cursor": func(s *story) { s.rolledBack(1, "unseen", "x") },

	// A delivery is lost unnoticed; the next heartbeat proves nothing.
	"no chain": func(s *story) {
		m := s.fresh()
		m.Drop(1)
		s.end("dropped")
		s.watch(m, s.session("dropped"), 3*time.Second)
		s.refuses(m, s.session("dropped"))
	},

	// Twelve members whose clocks are an hour slow beat for each other all the time.
	"a slow clock that silences": func(s *story) {
		right := s.fresh()
		for range 12 {
			s.join().SetSkew(-time.Hour)
		}
		for range 300 {
			s.b.Advance(time.Second)
			if st := right.Status(); st.State != revoke.StateFresh {
				s.t.Fatalf("the one whose clock is right is %s, age %s", st.State, st.Age)
			}
		}
	},

	// A heartbeat that was six seconds under way says nothing of the last six.
	"P from arrival time alone": func(s *story) { s.farAway(0) },

	// Nor does it if its sender's clock hides how long it was under way.
	"future heartbeats accepted": func(s *story) { s.farAway(time.Hour) },

	// An own heartbeat proves what was acknowledged before it was sent, not what was
	// while it was under way.
	"an own heartbeat proves its arrival": func(s *story) {
		m := s.join()
		m.Delay(3 * time.Second)
		s.b.Advance(10 * time.Second)
		for _, sid := range []string{"one", "two", "three", "four"} {
			s.end(sid)
			s.watch(m, s.session(sid), 1100*time.Millisecond)
		}
		s.b.Advance(3 * time.Second)
		s.refuses(m, s.session("four"))
	},

	// The heartbeat is applied, the event before it is not yet.
	"heartbeat not a fence":             (*story).appliedLate,
	"proven before the data is in view": (*story).appliedLate,

	// A cutoff and then an earlier one.
	"latest wins": func(s *story) {
		m := s.fresh()
		now := s.b.Now()
		for _, before := range []time.Duration{-time.Minute, -time.Hour} {
			s.publish(revoke.Event{Kind: revoke.KindSubject, Value: "u", Before: now.Add(before)})
		}
		s.b.Settle()
		s.refuses(m, revoke.Identity{Issuer: iss, Subject: "u", IssuedAt: now.Add(-30 * time.Minute)})
	},

	// The log is made anew, empty: what was known stays known.
	"forget on rebuild": func(s *story) {
		m := s.fresh()
		s.end("known")
		s.b.Settle()
		s.refuses(m, s.session("known"))
		s.b.Recreate()
		s.b.Advance(3 * time.Second)
		s.refuses(m, s.session("known"))
	},

	// The log server's clock jumps past the entry's end.
	"forget by one clock": func(s *story) {
		m := s.fresh()
		s.end("known")
		s.b.Advance(time.Second)
		s.b.SetSkew(2 * time.Hour)
		s.end("x")
		s.b.Advance(30 * time.Minute)
		s.refuses(m, s.session("known"))
	},

	// The member's does.
	"forget by the other clock": func(s *story) {
		m := s.fresh()
		s.end("known")
		s.b.Advance(time.Second)
		m.SetSkew(2 * time.Hour)
		s.end("x")
		s.b.Advance(30 * time.Minute)
		if err := m.Check(s.session("known"), revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
			s.t.Errorf("forgotten: %v", err)
		}
	},

	// Two events that each spare another session, and together none.
	"exceptions unioned": func(s *story) {
		m := s.fresh()
		now := s.b.Now()
		for _, sid := range []string{"one", "two"} {
			s.publish(revoke.Event{Kind: revoke.KindSubject, Value: "u", Keep: []string{sid}})
		}
		s.b.Settle()
		for _, sid := range []string{"one", "two"} {
			s.refuses(m, revoke.Identity{Issuer: iss, Subject: "u", Session: sid, IssuedAt: now})
		}
	},

	// A check that remembers its last answer asks again once an event is applied.
	"an event that no version counts": func(s *story) {
		m := s.fresh()
		id := s.session("asked")
		p := replica.Prepare(m.List(), &id)
		if err := p.Check(m.List(), m.Now(), revoke.Deny()); err != nil {
			s.t.Fatal(err)
		}
		s.end("asked")
		s.b.Settle()
		if err := p.Check(m.List(), m.Now(), revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) {
			s.t.Errorf("got %v, want it refused", err)
		}
	},

	// And does not remember that the replica was fresh.
	"freshness remembered": func(s *story) {
		m := s.fresh()
		id := s.session("asked")
		p := replica.Prepare(m.List(), &id)
		if err := p.Check(m.List(), m.Now(), revoke.Deny()); err != nil {
			s.t.Fatal(err)
		}
		m.Partition()
		s.b.Advance(20 * time.Second)
		if err := p.Check(m.List(), m.Now(), revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
			s.t.Errorf("got %v, want it stale", err)
		}
	},

	// A mirror goes on by position in a log that was restored from a backup.
	"position taken for content": (*story).forked,

	// The same, and a member of the version before beats, too.
	"a mirror's heartbeats prove": func(s *story) {
		s.join().NoDigest()
		s.forked()
	},

	// The log is made anew, and a member whose line is slow sends the digest of the log that
	// was, on which all behind the mirror agree.
	"a digest covers what comes after it": func(s *story) {
		slow := s.join()
		m, err := s.b.JoinMirror(revoke.Config{})
		if err != nil {
			s.t.Fatal(err)
		}
		s.b.Advance(300 * time.Millisecond)
		slow.Delay(4 * time.Second)
		s.b.Recreate()
		s.end("unseen")
		s.watch(m, s.session("unseen"), 2500*time.Millisecond)
		s.b.Heal()
		s.watch(m, s.session("unseen"), 10*time.Second)
		s.refuses(m, s.session("unseen"))
	},

	// Many members of the version before, who beat without digests, would leave the only
	// one who sends them nothing to do.
	"silenced without a digest": func(s *story) {
		s.fresh()
		m := s.mirrored()
		for range 12 {
			s.join().NoDigest()
		}
		for range 300 {
			s.b.Advance(time.Second)
			if st := m.Status(); st.State != revoke.StateFresh {
				s.t.Fatalf("the replica behind the mirror is %s (%s), age %s", st.State, st.Reason, st.Age)
			}
		}
	},

	// The machine slept, and its monotonic clock with it.
	"half the slack":              (*story).datedAhead,
	"iat in place of the instant": (*story).datedAhead,
	"monotonic clock alone": func(s *story) {
		m := s.fresh()
		m.Suspend()
		s.end("asleep")
		s.b.Advance(time.Minute)
		m.Resume()
		if err := m.Check(s.session("asleep"), revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
			s.t.Errorf("on waking: %v, want it stale", err)
		}
		s.b.Advance(2 * time.Second)
		s.refuses(m, s.session("asleep"))
	},
}

// TestDirectedHistories holds invariants 1, 3 and 4 on one history for each fault that
// TestPlantedFaults plants.
func TestDirectedHistories(t *testing.T) {
	for name, live := range directed {
		t.Run(name, func(t *testing.T) {
			s := &story{t, revoketest.NewBus(revoketest.Config{Seed: 1})}
			live(s)
			if err := s.b.Violations(); err != nil {
				t.Error(err)
			}
		})
	}
}
