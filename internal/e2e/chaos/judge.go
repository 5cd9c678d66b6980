package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// An episode is a stretch of time in which the stream lost what it had acknowledged,
// because the driver restored its disks or made it anew, which began at begin. What was
// acknowledged after from and not after to may be gone.
type episode struct {
	name            string
	from, begin, to instant
}

// remembered is of how many events a publisher surely knows the newest, to republish
// them: it promises 100,000, of which some are under way.
const remembered = 90_000

// A fact is what is known of one event.
type fact struct {
	attempted instant // before the first attempt
	acked     instant // A(e); 0: never
	before    int64
	sequence  uint64 // of the acknowledgement
}

// A teller is one incarnation of a publisher: its events and how it fared.
type teller struct {
	facts   []fact
	settled []publication // of kinds pubLossy and pubSettled
	failed  int
}

// load takes in a publication.
func (t *teller) load(p publication) error {
	switch p.kind {
	case pubLossy, pubSettled:
		t.settled = append(t.settled, p)
		return nil
	}
	if p.number > uint32(len(t.facts)) {
		return fmt.Errorf("event %d before event %d", p.number, len(t.facts))
	}
	if p.number == uint32(len(t.facts)) {
		t.facts = append(t.facts, fact{attempted: p.at, before: p.before})
	}
	switch f := &t.facts[p.number]; {
	case p.kind == pubAcked && f.acked == 0:
		f.acked, f.sequence = p.at, p.sequence
	case p.kind == pubFailed:
		t.failed++
	}
	return nil
}

// republished returns the instant from which the stream holds event n again, which it
// lost by e; 0: never.
func (t *teller) republished(n uint32, e episode) instant {
	lossy := false
	for _, p := range t.settled {
		switch {
		case p.at <= e.to:
		case p.kind == pubLossy:
			lossy = true
			if t.ackedSince(n, p.at) > remembered {
				return 0
			}
		case lossy:
			return p.at
		}
	}
	return 0
}

// ackedSince is at least how many events after n were acknowledged before at.
func (t *teller) ackedSince(n uint32, at instant) int {
	end, _ := slices.BinarySearchFunc(t.facts, at, func(f fact, at instant) int { return cmp.Compare(f.attempted, at) })
	return end - int(n)
}

// A judge holds the verifiers' answers against the publishers' facts, in exactly
// the terms of invariant 1, and of 3 and 5.
type judge struct {
	maxStaleness time.Duration
	tellers      map[uint16]*teller
	episodes     []episode   // in order of time
	forks        []forkTally // the same
	sum          summary
}

// A summary counts what was judged.
type summary struct {
	Checks, Whole, Skewed            int
	Accepted, Revoked, Stale, Failed int
	Owed                             int // refusals that invariant 1 demands by P(R) ≥ A(e)
	Spared                           int // answers for tokens that no event revokes, and which passed
	Excused                          int // owed but for a loss of the stream's
	Again                            int // owed, since the event was republished after such a loss
	Violations                       int
	First                            []string // of the violations
}

const maxTold = 20

func (j *judge) bad(invariant int, who string, c checked, format string, args ...any) {
	j.sum.Violations++
	if len(j.sum.First) < maxTold {
		kind, _ := c.event.value()
		j.sum.First = append(j.sum.First, fmt.Sprintf("invariant %d: %s at %d, proven up to %d, %s: %s of %s event %d.%d %s: %s",
			invariant, who, c.begin, c.proven, revoke.State(c.state), c.role, kind, c.event.publisher, c.event.number, c.answer, fmt.Sprintf(format, args...)))
	}
}

// A witness is what the checks so far say about one incarnation of a verifier.
type witness struct {
	name    string
	proven  instant      // the largest P
	at      []instant    // the largest P before each episode so far
	refused map[ref]bool // by exactly that event
	gaps    gaps
	sights  []sight // of the forks, if it is behind the mirror
}

// before returns the largest P that the incarnation had before episode i began: what
// it knew then, it goes on knowing.
func (w *witness) before(i int) instant {
	if i < len(w.at) {
		return w.at[i]
	}
	return w.proven
}

// check judges one answer. Those of an incarnation come in order.
func (j *judge) check(w *witness, c checked) error {
	t := j.tellers[c.event.publisher]
	if t == nil || c.event.number >= uint32(len(t.facts)) {
		return fmt.Errorf("a check of event %d.%d, which nobody published", c.event.publisher, c.event.number)
	}
	// What was proven before the stream's loss stays known.
	for len(w.at) < len(j.episodes) && c.begin >= j.episodes[len(w.at)].begin {
		w.at = append(w.at, w.proven)
	}
	if c.proven > w.proven {
		w.proven = c.proven
	}
	j.count(c)
	w.gaps.see(c)

	id := c.event.identity(c.role, c.iat)
	end := c.begin + instant(c.took) + instant(apart)
	possible, only := 0, ref{}
	owed, own := false, false
	for _, r := range c.event.siblings() {
		if c.role == stranger || r.number >= uint32(len(t.facts)) {
			continue
		}
		f := t.facts[r.number]
		if !revoketest.Revokes(r.event(time.Time{}, f.before), id) {
			continue
		}
		own = own || r == c.event
		if f.attempted <= end {
			possible, only = possible+1, r
		}
		if f.acked == 0 {
			continue
		}
		from, had, excused := f.acked, false, false
		for i, e := range j.episodes {
			if from > e.from && from <= e.to {
				had = had || w.before(i) >= from+instant(apart)
				from, excused = t.republished(r.number, e), true
			}
		}
		proven := c.proven > 0 && c.proven >= f.acked+instant(apart)
		late := c.begin.sub(f.acked) > j.maxStaleness+apart
		if excused && !had {
			before := proven || late
			proven = proven && from != 0 && c.proven >= from+instant(apart)
			late = late && from != 0 && c.begin.sub(from) > j.maxStaleness+apart
			switch {
			case proven:
				j.sum.Again++
			case before:
				j.sum.Excused++
			}
		}
		owed = owed || proven
		if c.answer == revoked {
			continue
		}
		switch {
		case w.refused[r]:
			j.bad(3, w.name, c, "refused by before, it is forgotten")
		case proven:
			j.bad(1, w.name, c, "event %d was acknowledged at %d, %s before P", r.number, f.acked, c.proven.sub(f.acked))
		case c.answer == accepted && late:
			j.bad(1, w.name, c, "event %d was acknowledged %s ago", r.number, c.begin.sub(f.acked))
		}
	}
	if owed {
		j.sum.Owed++
	}
	for i := range w.sights {
		j.forks[i].see(&w.sights[i], c, &t.facts[c.event.number], own)
	}
	switch {
	case c.answer == failed:
		j.bad(9, w.name, c, "the answer is an error of another kind")
	case c.answer == revoked && possible == 0:
		j.bad(5, w.name, c, "no event revokes it")
	case c.answer == revoked && possible == 1:
		w.refused[only] = true
	case c.answer == accepted && possible == 0:
		j.sum.Spared++
	}
	return nil
}

func (j *judge) count(c checked) {
	s := &j.sum
	s.Checks++
	if c.whole {
		s.Whole++
	}
	if c.skewed {
		s.Skewed++
	}
	switch c.answer {
	case accepted:
		s.Accepted++
	case revoked:
		s.Revoked++
	case stale:
		s.Stale++
	default:
		s.Failed++
	}
}

// gaps finds the stretches in which a verifier was not fresh.
type gaps struct {
	open *gap
	list []gap
}

// A gap is one such stretch, as seen by its checks.
type gap struct {
	Verifier   string
	From, To   instant
	Reason     revoke.Reason // the last one given
	Fault      string        // what was going on when it began
	Unfinished bool
}

func (g *gaps) see(c checked) {
	fresh := revoke.State(c.state) == revoke.StateFresh
	switch {
	case c.skewed: // stale by command
	case fresh && g.open != nil:
		g.open.To = c.begin
		g.list = append(g.list, *g.open)
		g.open = nil
	case !fresh && g.open == nil:
		g.open = &gap{From: c.begin, To: c.begin, Reason: revoke.Reason(c.reason)}
	case !fresh:
		g.open.To, g.open.Reason = c.begin, revoke.Reason(c.reason)
	}
}

// judgeDir judges the histories in dir. behind tells which verifiers, by number from 0,
// followed the mirror.
func judgeDir(dir string, maxStaleness time.Duration, episodes []episode, forks []fork, behind func(int) bool) (*judge, []gap, error) {
	j := &judge{maxStaleness: maxStaleness, tellers: map[uint16]*teller{}, episodes: episodes}
	for _, f := range forks {
		j.forks = append(j.forks, forkTally{fork: f})
	}
	list, err := histories(dir, "publisher")
	if err != nil {
		return nil, nil, err
	}
	for _, n := range list {
		t := &teller{}
		j.tellers[uint16(n)] = t
		err := readHistory(fileName(dir, "publisher", n), func(b []byte) error {
			p, err := decodePublication(b)
			if err != nil {
				return err
			}
			return t.load(p)
		})
		if err != nil {
			return nil, nil, err
		}
		for i := range j.forks {
			for n := range t.facts {
				if j.forks[i].hides(&t.facts[n]) {
					j.forks[i].Hidden++
				}
			}
		}
	}
	if list, err = histories(dir, "verifier"); err != nil {
		return nil, nil, err
	}
	var all []gap
	for _, n := range list {
		w := &witness{name: fmt.Sprintf("verifier %d", n%100), refused: map[ref]bool{}}
		if behind(n%100 - 1) {
			w.sights = make([]sight, len(j.forks))
		}
		err := readHistory(fileName(dir, "verifier", n), func(b []byte) error {
			c, err := decodeChecked(b)
			if err != nil {
				return err
			}
			return j.check(w, c)
		})
		if err != nil {
			return nil, nil, err
		}
		for i := range w.sights {
			j.forks[i].end(n%100, &w.sights[i])
		}
		if w.gaps.open != nil { // it was killed, or the run ended
			w.gaps.open.Unfinished = true
			w.gaps.list = append(w.gaps.list, *w.gaps.open)
		}
		for _, g := range w.gaps.list {
			g.Verifier = w.name
			all = append(all, g)
		}
	}
	for i := range j.forks {
		j.forks[i].sum()
	}
	return j, all, nil
}

func readHistory(name string, f func([]byte) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = eachRecord(file, 0, f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// acked returns how many events were acknowledged, and how often a publisher was
// told that one was not.
func (j *judge) acked() (n, failures int) {
	for _, t := range j.tellers {
		failures += t.failed
		for _, f := range t.facts {
			if f.acked != 0 {
				n++
			}
		}
	}
	return n, failures
}
