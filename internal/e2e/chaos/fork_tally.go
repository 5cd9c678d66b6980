package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A forkTally is what the histories tell of one fork. What the mirror hides are events
// that were acknowledged at or below its last sequence after the fork, before it was made
// anew; all times are of verifiers behind the mirror.
type forkTally struct {
	fork
	Hidden                           int           // events
	Checks, Refused, Stale, Accepted int           // of exactly those, behind the mirror, before it was made anew
	Fresh                            int           // verifiers that were fresh when it began
	Untold                           int           // of those, how many never told of a fork
	Told                             time.Duration // after To, until the last of them did
	Late                             int           // checks of exactly those by verifiers that started after the fork
	Again                            time.Duration // after Remade, until the last was fresh
	Unhealed                         int           // verifiers that never were
	again                            map[int]instant
}

// missing returns an error unless the fork was put to the test in every respect.
func (f *forkTally) missing() error {
	var errs []error
	for _, c := range []struct {
		bad  bool
		what string
	}{
		{f.Remade == 0, "the mirror was not made anew"},
		{f.Hidden == 0, "no event was acknowledged at or below the mirror's last sequence"},
		{f.Checks == 0, "nobody behind the mirror checked what was acknowledged at or below its last sequence"},
		{f.Fresh == 0, "no verifier behind the mirror was fresh before"},
		{f.Told == 0, "no verifier behind the mirror told of a fork"},
		{f.Untold > 0, fmt.Sprintf("%d verifiers behind the mirror never told of a fork", f.Untold)},
		{f.Late == 0, "no verifier that started behind the mirror checked what it hides"},
		{f.Again == 0, "no verifier was fresh after the mirror was made anew"},
		{f.Unhealed > 0, fmt.Sprintf("%d verifiers were never fresh after the mirror was made anew", f.Unhealed)},
	} {
		if c.bad {
			errs = append(errs, errors.New(c.what))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", f.Kind, err)
	}
	return nil
}

// A sight is what one incarnation of a verifier behind the mirror saw of a fork.
type sight struct {
	before bool    // it made a check before the fork
	fresh  bool    // and was fresh at the last of these
	told   instant // its first check that tells of a fork; 0: none
	again  instant // its first fresh check after the mirror was made anew; 0: none
	lived  bool    // it made a check once there was a stream again
}

// see takes a check of a verifier behind the mirror. owed tells that its event revokes
// the token by itself.
func (f *forkTally) see(s *sight, c checked, e *fact, owed bool) {
	state := revoke.State(c.state)
	switch {
	case c.begin < f.Begin:
		s.before, s.fresh = true, state == revoke.StateFresh
		return
	case f.Remade != 0 && c.begin >= f.Remade:
		if state == revoke.StateFresh && s.again == 0 {
			s.again = c.begin
		}
		return
	case c.begin < f.To:
		return
	}
	s.lived = true
	if s.told == 0 && state != revoke.StateFresh && revoke.Reason(c.reason) == revoke.ReasonFork {
		s.told = c.begin
	}
	if !owed || !f.hides(e) || c.begin <= e.acked {
		return
	}
	f.Checks++
	if !s.before {
		f.Late++
	}
	switch c.answer {
	case accepted:
		f.Accepted++
	case revoked:
		f.Refused++
	case stale:
		f.Stale++
	}
}

// end takes what an incarnation of that verifier saw in all.
func (f *forkTally) end(verifier int, s *sight) {
	if f.again == nil {
		f.again = map[int]instant{}
	}
	if s.before && s.fresh && s.lived {
		f.Fresh++
		if _, ok := f.again[verifier]; !ok {
			f.again[verifier] = 0 // even if nobody takes its place
		}
		if s.told == 0 {
			f.Untold++
		} else {
			f.Told = max(f.Told, s.told.sub(f.To))
		}
	}
	if s.again != 0 && (f.again[verifier] == 0 || s.again < f.again[verifier]) {
		f.again[verifier] = s.again
	}
}

// sum adds up, after all histories.
func (f *forkTally) sum() {
	for _, at := range f.again {
		if at == 0 {
			f.Unhealed++
		} else {
			f.Again = max(f.Again, at.sub(f.Remade))
		}
	}
}
