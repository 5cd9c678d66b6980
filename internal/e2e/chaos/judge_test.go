package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const second = instant(time.Second)

// A story is a synthetic history: times in seconds, one publisher, one verifier.
type story struct {
	t        *testing.T
	dir      string
	episodes []episode
	forks    []fork
	reason   revoke.Reason // of stale checks; zero: no heartbeat
	pub, ver *recorder
	next     uint32
}

func newStory(t *testing.T) *story {
	s := &story{t: t, dir: t.TempDir()}
	var err error
	if s.pub, err = newRecorder(fileName(s.dir, "publisher", 1), 0); err != nil {
		t.Fatal(err)
	}
	if s.ver, err = newRecorder(fileName(s.dir, "verifier", 101), 0); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *story) note(p publication) {
	if err := s.pub.add(p.encode); err != nil {
		s.t.Fatal(err)
	}
}

// before is the cutoff of all events of the stories.
const before = 1_800_000_000_000

// attempts writes that events up to and including number n were tried.
func (s *story) attempts(n uint32, at instant) {
	for ; s.next <= n; s.next++ {
		s.note(publication{kind: pubAttempt, number: s.next, at: at, before: before})
	}
}

func (s *story) acked(n uint32, at instant) { s.stored(n, at, 0) }

// stored is acked, at that sequence of the stream.
func (s *story) stored(n uint32, at instant, sequence uint64) {
	s.attempts(n, at-second/100)
	s.note(publication{kind: pubAcked, number: n, at: at, sequence: sequence})
}

// verifier has the checks that follow made by another incarnation.
func (s *story) verifier(incarnation int) {
	var err error
	if s.ver, err = newRecorder(fileName(s.dir, "verifier", incarnation), 0); err != nil {
		s.t.Fatal(err)
	}
}

// checks writes an answer.
func (s *story) checks(n uint32, r role, begin, proven instant, v verdict) {
	c := checked{begin: begin, took: 1000, proven: proven, event: ref{1, n}, role: r, iat: r.issued(before), answer: v, state: uint8(revoke.StateFresh)}
	if v == stale {
		c.state, c.reason = uint8(revoke.StateStale), uint8(cmp.Or(s.reason, revoke.ReasonNoHeartbeat))
	}
	if err := s.ver.add(c.encode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) judge() (*judge, []gap) {
	s.t.Helper()
	j, gaps, err := judgeDir(s.dir, 15*time.Second, s.episodes, s.forks, func(n int) bool { return n < 2 })
	if err != nil {
		s.t.Fatal(err)
	}
	return j, gaps
}

// Violations planted into histories are found, one each; their good twins pass.
// Invariants 1, 3 and 5.
func TestJudge(t *testing.T) {
	const sec = second
	for _, c := range []struct {
		name       string
		good, evil func(*story)
		want       string
	}{
		{
			"1: accepted although proven beyond the acknowledgement",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 11*sec, 9*sec, accepted) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 11*sec, 10*sec+sec/10, accepted) },
			"invariant 1",
		},
		{
			"1: a stale replica that is proven beyond the acknowledgement has to refuse",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 40*sec, 9*sec, stale) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 40*sec, 11*sec, stale) },
			"invariant 1",
		},
		{
			"1: accepted later than MaxStaleness after the acknowledgement",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 24*sec, 9*sec, accepted) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 26*sec, 9*sec, accepted) },
			"invariant 1",
		},
		{
			"1: a session that only the first of two cutoffs keeps",
			func(s *story) { s.acked(13, 10*sec); s.checks(13, firstKept, 12*sec, 11*sec, accepted) },
			func(s *story) {
				s.acked(13, 10*sec)
				s.acked(14, 10*sec)
				s.checks(13, firstKept, 12*sec, 11*sec, accepted)
			},
			"invariant 1",
		},
		{
			"1: what was not acknowledged is owed nothing",
			func(s *story) { s.attempts(0, 10*sec); s.checks(0, oldToken, 40*sec, 30*sec, accepted) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 40*sec, 30*sec, accepted) },
			"invariant 1",
		},
		{
			"3: forgotten after it was refused",
			func(s *story) {
				s.acked(0, 10*sec)
				s.checks(0, oldToken, 11*sec, 9*sec, accepted)
				s.checks(0, oldToken, 12*sec, 9*sec, revoked)
			},
			func(s *story) {
				s.acked(0, 10*sec)
				s.checks(0, oldToken, 11*sec, 9*sec, revoked)
				s.checks(0, oldToken, 12*sec, 9*sec, accepted)
			},
			"invariant 3",
		},
		{
			"5: a session that is kept by both cutoffs",
			func(s *story) {
				s.acked(13, 10*sec)
				s.acked(14, 10*sec)
				s.checks(14, secondKept, 12*sec, 11*sec, accepted)
			},
			func(s *story) {
				s.acked(13, 10*sec)
				s.acked(14, 10*sec)
				s.checks(14, secondKept, 12*sec, 11*sec, revoked)
			},
			"invariant 5",
		},
		{
			"5: a new login",
			func(s *story) { s.acked(13, 10*sec); s.checks(13, newLogin, 12*sec, 11*sec, accepted) },
			func(s *story) { s.acked(13, 10*sec); s.checks(13, newLogin, 12*sec, 11*sec, revoked) },
			"invariant 5",
		},
		{
			"5: a stranger",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, stranger, 12*sec, 11*sec, accepted) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, stranger, 12*sec, 11*sec, revoked) },
			"invariant 5",
		},
		{
			"5: refused before anybody tried to revoke",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 10*sec-sec/200, 9*sec, revoked) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 9*sec, 8*sec, revoked) },
			"invariant 5",
		},
		{
			"an answer of another kind",
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 11*sec, 9*sec, stale) },
			func(s *story) { s.acked(0, 10*sec); s.checks(0, oldToken, 11*sec, 9*sec, failed) },
			"invariant 9",
		},
		{
			"the stream loses it: who had it goes on refusing",
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.checks(1, stranger, 11*sec, 9*sec, accepted)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
				s.attempts(1, 10*sec)
			},
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.checks(1, stranger, 12*sec, 11*sec, accepted) // proven: it had it
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
				s.attempts(1, 10*sec)
			},
			"invariant 1",
		},
		{
			"the stream loses it: others refuse once it is republished",
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.note(publication{kind: pubLossy, at: 21 * sec, losses: 1})
				s.note(publication{kind: pubSettled, at: 25 * sec, losses: 1})
				s.checks(0, oldToken, 26*sec, 24*sec, accepted)
			},
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.note(publication{kind: pubLossy, at: 21 * sec, losses: 1})
				s.note(publication{kind: pubSettled, at: 25 * sec, losses: 1})
				s.checks(0, oldToken, 27*sec, 26*sec, accepted)
			},
			"invariant 1",
		},
		{
			"what was in the backup is not lost",
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 6*sec)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
			},
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 4*sec)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
			},
			"invariant 1",
		},
		{
			"what is proven while the stream is being restored tells nothing of what was there before",
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.attempts(1, 10*sec)
				s.checks(1, stranger, 19*sec, 19*sec-sec/10, accepted)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
			},
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}}
				s.acked(0, 10*sec)
				s.attempts(1, 10*sec)
				s.checks(1, stranger, 17*sec, 17*sec-sec/10, accepted)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted)
			},
			"invariant 1",
		},
		{
			"lost for good, it is not owed because of another loss later",
			func(s *story) {
				s.episodes = []episode{{"rollback", 5 * sec, 18 * sec, 20 * sec}, {"recreation", 0, 39 * sec, 40 * sec}}
				s.acked(0, 10*sec)
				s.checks(0, oldToken, 30*sec, 29*sec, accepted) // proven, yet it never had it
				s.checks(0, oldToken, 50*sec, 49*sec, accepted)
			},
			func(s *story) {
				s.episodes = []episode{{"recreation", 0, 39 * sec, 40 * sec}}
				s.acked(0, 10*sec)
				s.checks(1, stranger, 30*sec, 29*sec, accepted)
				s.checks(0, oldToken, 50*sec, 49*sec, accepted)
				s.attempts(1, 10*sec)
			},
			"invariant 1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := newStory(t)
			c.good(good)
			if j, _ := good.judge(); j.sum.Violations != 0 || j.sum.Checks == 0 {
				t.Errorf("the good twin: %d checks, %q", j.sum.Checks, j.sum.First)
			}
			evil := newStory(t)
			c.evil(evil)
			if j, _ := evil.judge(); j.sum.Violations != 1 || !strings.HasPrefix(j.sum.First[0], c.want) {
				t.Errorf("got %q, want one of %s", j.sum.First, c.want)
			}
		})
	}
}

// Every kind of event revokes the old token of its own, and nothing else that is
// checked because of it. Invariant 5.
func TestWorkload(t *testing.T) {
	list, err := revoke.NewList(revoke.Config{Local: true, TokenLifetime: lifetime, SessionLifetime: 4 * lifetime})
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	cutoff := now.Time().UnixMilli() + 2000
	ask := func(r ref, who role) bool {
		id := r.identity(who, who.issued(cutoff))
		return list.Check(now, &id, revoke.Deny()) != nil
	}
	kinds := map[revoke.Kind]bool{}
	for n := range uint32(3 * block) {
		r := ref{7, n}
		kind, _ := r.value()
		kinds[kind] = true
		if second := n%block == 14; ask(r, oldToken) != second { // the first has done it
			t.Errorf("%s event %d: revoked before: %t", kind, n, !second)
		}
		if err := list.Apply(now, r.event(now.Time(), cutoff)); err != nil {
			t.Fatal(err)
		}
		for _, who := range r.wants() {
			want := who == oldToken || who == firstKept && n%block == 14
			if got := ask(r, who); got != want {
				t.Errorf("%s event %d: %s is revoked: %t, want %t", kind, n, who, got, want)
			}
		}
	}
	if len(kinds) != int(revoke.KindIssuer)-1 { // an issuer's cutoff would hide the rest
		t.Errorf("the workload has the kinds %v", kinds)
	}
}

// A history that ends in the middle of a record, as that of a killed process does,
// is read up to there; one with junk in it is refused.
func TestTornHistory(t *testing.T) {
	s := newStory(t)
	s.acked(0, 10*second)
	s.checks(0, oldToken, 12*second, 11*second, revoked)
	s.checks(0, oldToken, 13*second, 11*second, revoked)
	name := fileName(s.dir, "verifier", 101)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b[:recordSize+7], 0o600); err != nil {
		t.Fatal(err)
	}
	if j, _ := s.judge(); j.sum.Checks != 1 || j.sum.Violations != 0 {
		t.Errorf("%+v", j.sum)
	}
	if err := os.WriteFile(name, slices.Concat(b[:recordSize], make([]byte, recordSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := judgeDir(s.dir, time.Second, nil, nil, func(int) bool { return false }); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
		t.Errorf("junk in a history: %v", err)
	}
}

func TestGaps(t *testing.T) {
	s := newStory(t)
	s.acked(0, 10*second)
	s.checks(0, oldToken, 20*second, 9*second, accepted)
	s.checks(0, oldToken, 30*second, 9*second, stale)
	s.checks(0, oldToken, 32*second, 9*second, stale)
	s.checks(0, oldToken, 33*second, 32*second, revoked)
	s.checks(0, stranger, 50*second, 32*second, stale)
	_, gaps := s.judge()
	if len(gaps) != 2 || gaps[0].To-gaps[0].From != 3*second || gaps[0].Unfinished || !gaps[1].Unfinished || gaps[0].Reason != revoke.ReasonNoHeartbeat {
		t.Errorf("%+v", gaps)
	}
}

func FuzzHistory(f *testing.F) {
	var b [recordSize]byte
	publication{kind: pubAcked, number: 3, at: second, before: before}.encode(b[:])
	f.Add(slices.Clone(b[:]))
	checked{begin: second, proven: 1, event: ref{1, 2}, role: newLogin, answer: stale, whole: true}.encode(b[:])
	f.Add(slices.Clone(b[:]))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) != recordSize {
			return
		}
		var again [recordSize]byte
		if p, err := decodePublication(in); err == nil {
			p.encode(again[:])
			if q, err := decodePublication(again[:]); err != nil || p != q {
				t.Errorf("%+v became %+v, %v", p, q, err)
			}
		}
		if c, err := decodeChecked(in); err == nil {
			c.encode(again[:])
			if d, err := decodeChecked(again[:]); err != nil || c != d {
				t.Errorf("%+v became %+v, %v", c, d, err)
			}
		}
	})
}
