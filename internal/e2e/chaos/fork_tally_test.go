package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A forkStory is one of a fork that puts everything to the test, but for what is left out.
type forkStory struct {
	sequence    uint64 // of the event that the mirror hides; 0: one that it does
	asked       role   // whose token is checked
	askedOf     uint32 // the event
	before      verdict
	told, late  revoke.Reason // that the first verifier, and one that came later, give
	second      bool          // a second verifier is there, which says nothing
	again       verdict       // after the mirror was made anew; 0: nobody asks
	neverRemade bool
}

func (c forkStory) tell(t *testing.T) *forkTally {
	const sec = second
	s := newStory(t)
	f := fork{Kind: forkRecreated, Begin: 20 * sec, To: 22 * sec, Last: 100, Remade: 60 * sec}
	if c.neverRemade {
		f.Remade = 0
	}
	s.forks = []fork{f}
	s.stored(0, 10*sec, 50) // before
	s.stored(1, 21*sec, 3)  // while it is made anew: perhaps lost
	s.stored(2, 30*sec, c.sequence)
	s.stored(3, 50*sec, 101) // the first that the mirror takes
	s.stored(4, 61*sec, 102)
	if c.second {
		s.verifier(102)
		s.checks(0, stranger, 19*sec, 18*sec, accepted)
		s.checks(2, oldToken, 40*sec, 18*sec, stale)
		s.checks(2, oldToken, 70*sec, 69*sec, revoked)
		s.verifier(103) // beside the stream
		s.checks(2, oldToken, 40*sec, 39*sec, revoked)
	}
	s.verifier(201)
	s.checks(0, stranger, 19*sec, 18*sec, c.before)
	s.checks(0, oldToken, 31*sec, 18*sec, revoked)
	s.checks(1, oldToken, 31*sec, 18*sec, accepted)
	s.checks(c.askedOf, c.asked, 29*sec, 18*sec, accepted)
	s.checks(c.askedOf, c.asked, 31*sec, 18*sec, accepted)
	s.reason = c.told
	s.checks(c.askedOf, c.asked, 42*sec, 18*sec, stale)
	if c.late != revoke.ReasonNone {
		s.verifier(301)
		s.reason = c.late
		s.checks(c.askedOf, c.asked, 55*sec, 0, stale)
	}
	if c.again != 0 {
		s.checks(0, stranger, 61*sec, 18*sec, stale)
		if c.again == stale {
			s.checks(0, stranger, 65*sec, 18*sec, stale)
		} else {
			s.checks(2, oldToken, 65*sec, 64*sec, c.again)
		}
	}
	j, _ := s.judge()
	if j.sum.Violations != 0 {
		t.Errorf("%q", j.sum.First)
	}
	return &j.forks[0]
}

// A fork counts if events were hidden and checked by who had been fresh, said that it is
// a fork, and healed. Each that lacks a part is told apart from the good one.
func TestForkTally(t *testing.T) {
	good := forkStory{sequence: 100, asked: oldToken, askedOf: 2, before: accepted, told: revoke.ReasonFork, late: revoke.ReasonFork, again: revoked}
	f := good.tell(t)
	if err := f.missing(); err != nil || f.Hidden != 1 || f.Checks != 3 || f.Accepted != 1 || f.Stale != 2 || f.Refused != 0 || f.Late != 1 ||
		f.Fresh != 1 || f.Told != 20*time.Second || f.Again != 5*time.Second {
		t.Errorf("the good twin: %+v: %v", f, err)
	}
	for name, c := range map[string]struct {
		plant func(*forkStory)
		want  string
	}{
		"the mirror takes the event":      {func(s *forkStory) { s.sequence = 101 }, "no event was acknowledged"},
		"another event is checked":        {func(s *forkStory) { s.askedOf = 3 }, "nobody behind the mirror checked"},
		"a token that it does not revoke": {func(s *forkStory) { s.asked = stranger }, "nobody behind the mirror checked"},
		"stale before":                    {func(s *forkStory) { s.before = stale }, "was fresh before"},
		"stale for another reason":        {func(s *forkStory) { s.told = revoke.ReasonNoHeartbeat }, "told of a fork"},
		"one of two does not tell":        {func(s *forkStory) { s.second = true }, "1 verifiers behind the mirror never told"},
		"nobody came later":               {func(s *forkStory) { s.late = revoke.ReasonNone }, "started behind the mirror"},
		"stale for ever":                  {func(s *forkStory) { s.again = stale }, "fresh after the mirror was made anew"},
		"nobody is asked afterwards":      {func(s *forkStory) { s.again = 0 }, "fresh after the mirror was made anew"},
		"the mirror was left as it is":    {func(s *forkStory) { s.neverRemade = true }, "the mirror was not made anew"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			c.plant(&bad)
			f := bad.tell(t)
			if err := f.missing(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), forkRecreated) {
				t.Errorf("%+v: got %v, want %q", f, err, c.want)
			}
			a := account{cfg: config{servers: "fork-recreated"}, judged: &judge{forks: []forkTally{*f}}, faults: []fault{{Kind: forkRecreated}}}
			if err := a.verdict(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the verdict is %v", err)
			}
		})
	}
}

// What a fork hides from a mirror is revoked all the same: a verifier that is proven by a
// heartbeat behind it, or accepts for longer than MaxStaleness, violates invariant 1.
func TestForkViolated(t *testing.T) {
	const sec = second
	for name, c := range map[string]struct{ proven, begin instant }{
		"proven by position alone": {35 * sec, 36 * sec},
		"accepted for too long":    {22 * sec, 46 * sec},
	} {
		s := newStory(t)
		s.forks = []fork{{Kind: forkRestored, Begin: 20 * sec, To: 22 * sec, Last: 100, Remade: 60 * sec}}
		s.episodes = []episode{{forkRestored, 5 * sec, 20 * sec, 22 * sec}}
		s.stored(0, 30*sec, 40)
		s.checks(0, oldToken, c.begin, c.proven, accepted)
		if j, _ := s.judge(); j.sum.Violations != 1 || !strings.HasPrefix(j.sum.First[0], "invariant 1") || j.forks[0].Accepted != 1 {
			t.Errorf("%s: %+v", name, j.sum)
		}
	}
}

// A run that was to have forks and had none fails.
func TestForksAreWanted(t *testing.T) {
	for _, c := range []struct {
		cfg  config
		want string
	}{
		{config{servers: "outage,fork-restored,fork-recreated", mirrored: 1}, "fork restored fork recreated"},
		{config{servers: "fork-recreated", mirrored: 1}, "fork recreated"},
		{config{servers: "outage", mirrored: 1, length: time.Hour}, ""},
		{config{length: time.Minute, mirrored: 1}, ""},
		{config{length: 5 * time.Minute}, ""},
		{config{length: 5 * time.Minute, mirrored: 1}, "fork restored fork recreated"},
	} {
		if got := strings.Join(c.cfg.forks(), " "); got != c.want {
			t.Errorf("%+v wants %q, got %q", c.cfg, c.want, got)
		}
		a := account{cfg: c.cfg, judged: &judge{}, faults: []fault{{Kind: "outage"}}}
		if err := a.verdict(); (err != nil) != (c.want != "") || err != nil && strings.Count(err.Error(), "none was done") != len(c.cfg.forks()) {
			t.Errorf("%+v: the verdict is %v", c.cfg, err)
		}
	}
}
