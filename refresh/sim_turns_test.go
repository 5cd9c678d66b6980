package refresh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
)

// The simulation of single sessions over weeks: tabs that ask at once, answers that are
// lost, phones that sleep, outages of store, application and bus, and a thief who takes turns
// with his victim. Interleavings within a call are [TestSimulation]'s. What must hold:
//   - no honest client is logged out
//   - anyone who presents one token within its window is given one successor
//   - the session is ended at the latest when the thief presents a token for the second
//     time, unless one of the two was answered within a window, where theft and retry look alike
//
// testdata/turns/behaviours.json says how often what happens, and by which random source.

// A turnSession is one session as its holders see it.
type turnSession struct {
	w       *turnWorld
	sid     string
	binding token.Binding
	tok     string // of its honest client
	former  string // its predecessor
	lates   []time.Time
	burnt   string
}

// present is one call, at any instance.
func (s *turnSession) present(who, tok string) (*Grant, error) {
	w := s.w
	in := w.inst[w.rng.IntN(len(w.inst))]
	if !w.down["bus"] {
		w.beat(in)
	}
	w.graced, w.lated = false, false
	if w.planted == "four answers" && w.answers[tok] >= 4 && w.clock.Sub(w.first[tok]) < 12*time.Second {
		w.note("%s: told to try again, by the old limit", who)
		return nil, ErrBusy
	}
	g, err := in.Refresh(context.Background(), Request{Token: tok, Client: "web", Binding: s.binding})
	if err == nil {
		if w.answers[tok]++; w.answers[tok] == 1 {
			w.first[tok] = w.clock
		}
		w.counts.refreshes++
	}
	if w.graced {
		w.counts.window++
	}
	if w.lated {
		w.counts.late++
	}
	if errors.Is(err, ErrTryAgain) {
		w.counts.told++
	}
	if err == nil && g.SessionID != s.sid {
		w.violation("a grant of another session")
	}
	w.note("%s presents %.12s at %s: %v, in window %t, late %t", who, tok[len(tok)-12:], in.off, err, w.graced, w.lated)
	return g, err
}

// obedient tries again for as long as it is told so.
func (s *turnSession) obedient(tok string) *Grant {
	for range 3000 {
		g, err := s.present("client", tok)
		switch {
		case err == nil:
			return g
		case errors.Is(err, ErrTryAgain) && !errors.Is(err, ErrLoginAgain):
			s.w.pass(s.w.between(s.w.table.Retry))
			s.w.probe()
		default:
			s.w.violation("an honest client is logged out: %v", err)
			return nil
		}
	}
	s.w.violation("an honest client is told to try again for ever")
	return nil
}

// took has the client take its new token.
func (s *turnSession) took(g *Grant) {
	if g != nil {
		s.former, s.tok = s.tok, g.RefreshToken()
	}
}

// outage is down for a while, in which the client goes on trying.
func (s *turnSession) outage(what string) {
	w := s.w
	w.counts.outages[what]++
	w.down[what] = true
	// Short ones are many.
	long := time.Duration(w.table.Outage[0]) + time.Duration(math.Pow(w.rng.Float64(), 8)*float64(w.table.Outage[1]-w.table.Outage[0]))
	for end := w.clock.Add(long); w.clock.Before(end); w.pass(w.between(w.table.Retry)) {
		// What a replica knows is fresh for a while without a bus.
		if _, err := s.present("client", s.tok); !errors.Is(err, ErrTryAgain) && (what != "bus" || err != nil) {
			w.violation("%s is down, and the answer is %v", what, err)
			break
		}
	}
	w.down[what] = false
	w.probe()
}

// behave is one round of an honest client.
func (s *turnSession) behave(what string) {
	w := s.w
	w.note("%s", what)
	switch what {
	case "plain":
		s.took(s.obedient(s.tok))
	case "tabs", "tabs in an outage":
		n := w.table.Tabs.Count[0] + w.rng.IntN(w.table.Tabs.Count[1]-w.table.Tabs.Count[0]+1)
		var at []time.Duration
		for range n {
			at = append(at, w.upTo(time.Duration(w.table.Tabs.Spread)))
		}
		slices.Sort(at)
		var got *Grant
		for i, d := range at {
			if i > 0 {
				w.pass(d - at[i-1])
			}
			if i == n/2 && what != "tabs" {
				s.outage([]string{"store", "application"}[w.rng.IntN(2)])
			}
			g := s.obedient(s.tok)
			if g == nil {
				return
			}
			if got != nil && g.RefreshToken() != got.RefreshToken() {
				w.violation("two tabs have two successors of one token")
			}
			got = g
		}
		s.took(got)
	case "lost":
		n := w.table.Lost.Times[0] + w.rng.IntN(w.table.Lost.Times[1]-w.table.Lost.Times[0]+1)
		for range n {
			s.obedient(s.tok)
			w.pass(w.between(w.table.Retry))
		}
		s.took(s.obedient(s.tok))
	case "sleep":
		if len(s.lates) > 0 && (len(s.lates) == maxLate || w.clock.Sub(s.lates[len(s.lates)-1]) < w.lives.LateEvery+time.Minute) {
			s.took(s.obedient(s.tok)) // it had its ration
			return
		}
		waiting := s.obedient(s.tok)
		at, _ := s.record().deadline(&w.lives)
		w.pass(min(w.between(w.profile.Sleep)+15*time.Second, time.UnixMilli(at).Sub(w.clock)-time.Minute))
		g := s.obedient(s.tok)
		if g == nil || waiting == nil {
			return
		}
		if !w.lated || g.RefreshToken() == waiting.RefreshToken() {
			w.violation("a late retry is given what waited")
		}
		s.lates, s.burnt = append(s.lates, w.clock), waiting.RefreshToken()
		s.took(g)
	case "store", "application", "bus":
		if what == "bus" { // it has been down for some seconds, so that replicas are soon stale
			for _, in := range w.inst {
				w.beat(in)
			}
			w.down[what] = true
			w.pass(7*time.Second + w.upTo(7*time.Second))
		}
		s.obedient(s.tok) // its answer is lost
		w.pass(w.upTo(7 * time.Second))
		s.outage(what)
		s.took(s.obedient(s.tok))
	case "before":
		down := []string{"store", "application", "bus"}[w.rng.IntN(3)]
		if down == "bus" {
			w.down[down] = true
			w.pass(16 * time.Second) // then every replica is stale
		}
		s.outage(down)
		s.took(s.obedient(s.tok))
	case "unconfirmed":
		w.unsure = true
		w.counts.outages["store"]++
		if _, err := s.present("client", s.tok); !errors.Is(err, ErrTryAgain) {
			w.violation("an unconfirmed write: %v", err)
		}
		w.pass(w.between(w.table.Retry))
		w.down["store"] = false
		w.probe()
		s.took(s.obedient(s.tok))
	default:
		w.t.Fatalf("no behaviour is called %q", what)
	}
}

func (s *turnSession) record() *session {
	r, err := decodeSession(s.w.records[recordKey("s", "https://auth.example.com", s.sid)].Value, s.sid)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return r
}

func (s *turnSession) ended() bool { return s.record().Ended != 0 }

// over says whether the session's time is up, which ends every story.
func (s *turnSession) over() bool {
	at, _ := s.record().deadline(&s.w.lives)
	return s.w.clock.Add(2*time.Second).UnixMilli() > at
}

// theft has a thief and his victim present their tokens in turn.
func (s *turnSession) theft() {
	w := s.w
	rhythm := func() time.Duration {
		for {
			if d := time.Duration(w.table.Rhythms[w.rng.IntN(len(w.table.Rhythms))]); d < w.lives.Idle {
				return d
			}
		}
	}
	stolen, first := s.tok, w.rng.IntN(2) == 0
	switch {
	case w.rng.IntN(3) == 0 && s.former != "": // a copy from before
		stolen = s.former
	case w.rng.IntN(4) == 0:
		s.repeats(rhythm())
		return
	}
	slow, quick := rhythm(), rhythm()
	turns, alike := 0, false
	for i := 0; i < 12 && !s.ended() && !s.over(); i++ {
		if thief := first == (i%2 == 0); thief {
			w.pass(slow)
			if s.over() {
				return
			}
			w.counts.turns[slow]++
			turns++
			g, err := s.present("thief", stolen)
			if err == nil {
				stolen = g.RefreshToken()
			}
		} else {
			w.pass(quick)
			if s.over() {
				return
			}
			g, err := s.present("victim", s.tok)
			if err == nil {
				s.tok = g.RefreshToken()
			}
		}
		alike = alike || w.graced
		if turns == 2 && !alike && !s.ended() && i >= 2 {
			w.violation("the thief, every %s, his victim %s: the session goes on after his second turn", slow, quick)
			return
		}
	}
	if s.ended() {
		w.counts.caught++
	} else if alike {
		w.counts.byWindow++
	}
}

// repeats has a thief present the predecessor again and again while his victim sleeps.
func (s *turnSession) repeats(d time.Duration) {
	w := s.w
	old := s.tok
	g, err := s.present("victim", old)
	if err != nil {
		w.violation("an honest client is logged out: %v", err)
		return
	}
	s.tok = g.RefreshToken()
	for turn := 1; turn <= 5; turn++ {
		w.pass(d)
		if s.over() {
			return
		}
		w.counts.repeats++
		w.counts.turns[d]++
		_, err := s.present("thief", old)
		if w.graced {
			w.counts.byWindow++
			return
		}
		if s.ended() {
			w.counts.caught++
			return
		}
		if turn == 2 && d < w.lives.LateEvery || turn == 4 || err != nil {
			w.violation("the thief repeats a token every %s: the session goes on after turn %d: %v", d, turn, err)
			return
		}
	}
}

// TestTurns lives through sessions of each profile. HYBRIDTOKEN_TURNS says
// which, "0-100000" for the first so many and "17-18" for one.
func TestTurns(t *testing.T) {
	from, to := 0, 300
	if v := os.Getenv("HYBRIDTOKEN_TURNS"); v != "" {
		if n, err := fmt.Sscanf(v, "%d-%d", &from, &to); n != 2 || err != nil || from < 0 || from >= to {
			t.Fatalf("HYBRIDTOKEN_TURNS: %q, want two numbers as in 0-100000", v)
		}
	}
	table := readTurns(t)
	for i := range table.Profiles {
		p := &table.Profiles[i]
		t.Run(p.Name, func(t *testing.T) {
			w := newTurnWorld(t, table, p, "")
			w.run(from, to)
			if len(w.bad) > 0 {
				t.Fatalf("session %d: %s\n%s", from+w.counts.sessions-1, strings.Join(w.bad, "\n"), strings.Join(w.trace, "\n"))
			}
			t.Log(&w.counts)
			if list := w.counts.missing(w); len(list) > 0 {
				t.Errorf("none in %d sessions: %s", to-from, strings.Join(list, ", "))
			}
		})
	}
}

// The simulation would have seen what it is there for: the limit of four answers that told the
// fifth tab to try again until its obedient retry ended the session, and a late retry
// without a ration.
func TestTurnsSeePlanted(t *testing.T) {
	table := readTurns(t)
	for _, c := range []struct{ profile, planted, want string }{
		{"Web", "four answers", "an honest client is logged out"},
		{"Consumer", "four answers", "two tabs have two successors"},
		{"Consumer", "late retries without a ration", "the thief repeats a token"},
	} {
		t.Run(c.profile+", "+c.planted, func(t *testing.T) {
			i := slices.IndexFunc(table.Profiles, func(p turnsProfile) bool { return p.Name == c.profile })
			w := newTurnWorld(t, table, &table.Profiles[i], c.planted)
			w.run(0, 2000)
			if len(w.bad) == 0 || !strings.Contains(w.bad[0], c.want) {
				t.Fatalf("after %d sessions: %q, want %q", w.counts.sessions, w.bad, c.want)
			}
			t.Logf("session %d: %s", w.counts.sessions-1, w.bad[0])
		})
	}
}

// A run that lacks something fails.
func TestTurnsMissNothing(t *testing.T) {
	table := readTurns(t)
	w := newTurnWorld(t, table, &table.Profiles[1], "")
	w.run(0, 1)
	if list := w.counts.missing(w); len(list) < 10 {
		t.Errorf("one session lacks only %q", list)
	}
}
