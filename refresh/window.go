package refresh

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
)

const (
	// maxHeld bounds the time that does not count against one window, in milliseconds.
	maxHeld = 5 * 60_000

	// maxLate is how many late retries a session is allowed in its life.
	maxLate = 3
)

// A standing says what a presented generation is to the session.
type standing int

const (
	current  standing = iota
	inWindow          // used up, and within its window
	late              // used up and out of its window, and the ration allows a late retry
	doubtful          // used up, and nobody can tell whether its window is over
	replayed
)

// A position is where a presented generation stands.
type position struct {
	standing
	generation uint64
	used       int64  // when, if known is set
	known      bool   // the record knows the generation
	successor  secret // inWindow: the current generation, found by the seals
}

// position finds the presented generation. The spans held do not count against its window.
// That it is replayed is what the record says, which may be old; only a compare-and-set
// makes it true.
func (m *Manager) position(s *session, p *presented, now int64, held []span) (position, error) {
	hash := p.generation.hash(useGeneration, p.sid)
	if subtle.ConstantTimeCompare(hash[:], s.Current) == 1 {
		if s.misspelt(p, s.Generation) {
			return position{}, errUnknown
		}
		return position{standing: current, generation: s.Generation, known: true}, nil
	}
	at := position{standing: replayed}
	i := slices.IndexFunc(s.Steps, func(x step) bool { return subtle.ConstantTimeCompare(hash[:], x.Hash) == 1 })
	if i >= 0 {
		at.known, at.generation, at.used = true, s.Steps[i].Generation, s.Steps[i].Until-m.grace()
	}
	last := len(s.Last) > 0 && subtle.ConstantTimeCompare(hash[:], s.Last) == 1
	if last && i < 0 {
		at.known, at.generation, at.used = true, s.LastGeneration, s.LastAt
	}
	if !at.known {
		return at, nil
	}
	if s.misspelt(p, at.generation) {
		return position{}, errUnknown
	}
	sealed := i >= 0 && len(s.Steps[i].Seal) > 0
	open, doubt := m.window(at.used, now, held)
	switch {
	case open && sealed:
		successor, err := s.follow(p, i)
		if err != nil {
			return position{}, err
		}
		at.standing, at.successor = inWindow, successor
	case last && m.mayBeLate(s, now):
		at.standing = late
	case doubt || open && i >= 0:
		at.standing = doubtful
	}
	return at, nil
}

func (m *Manager) grace() int64 { return m.cfg.Lifetimes.Grace.Milliseconds() }

// window says whether the window is open of a generation that was used at that time. If it is
// not, it may be in doubt: some time does not count, and nobody knows whether more should not.
func (m *Manager) window(used, now int64, held []span) (open, doubt bool) {
	length := m.grace() + m.skew
	if m.grace() == 0 {
		length = -1 // none: clocks that differ make none of it
	}
	without := overlap(held, used, now)
	open = now-used-min(without, maxHeld) <= length
	doubt = without > 0 && (now-used-without <= max(length, m.skew) || now-used <= max(length, m.skew)+maxHeld)
	return open, doubt
}

// mayBeLate says whether the session's ration has a late retry left.
func (m *Manager) mayBeLate(s *session, now int64) bool {
	l := &m.cfg.Lifetimes
	if l.LateEvery == 0 || s.Late >= maxLate || l.LateBound && s.binding().IsZero() {
		return false
	}
	return s.LateAt == 0 || now-s.LateAt >= l.LateEvery.Milliseconds()
}

// follow opens the seals from the step that holds the presented generation to the
// current one.
func (s *session) follow(p *presented, i int) (secret, error) {
	holds := p.generation
	for ; i < len(s.Steps); i++ {
		x := &s.Steps[i]
		if hash := holds.hash(useGeneration, p.sid); subtle.ConstantTimeCompare(hash[:], x.Hash) != 1 || len(x.Seal) == 0 {
			break
		}
		next, err := holds.open(x.Seal, p.sid, x.Generation)
		if err != nil {
			return secret{}, fmt.Errorf("%w: %w", ErrStore, err)
		}
		holds = next
	}
	if hash := holds.hash(useGeneration, p.sid); subtle.ConstantTimeCompare(hash[:], s.Current) != 1 {
		return secret{}, fmt.Errorf("%w: its successors were used up", errBusy)
	}
	return holds, nil
}

// errFlood is of errBusy: more retries of one session than are answered at once.
var errFlood error = &member{errBusy, "session busy: too many retries at once"}

// answer gives a retry within the window what the first use was given: the same refresh
// token, and an access token dated by the instant that the rotation recorded, so that
// nothing has to be written. Only where such a token would soon have expired, it is dated
// anew, and that is written; and so is the record as it is where it offers to be bound.
func (m *Manager) answer(ctx context.Context, r *session, p *presented, at *position, call *Request, scope []string) (*Grant, error) {
	if !m.retries.allow(r.SID, m.now()) {
		return nil, errFlood
	}
	now, next := m.millis(), r.clone()
	access := m.cfg.Lifetimes.Access.Milliseconds()
	anew := r.Issued > now+m.skew || now-r.Issued > access/2
	issued := r.Issued
	if anew {
		var err error
		if issued, err = m.issuedAt(ctx, r); err != nil { // before the denylist is asked, as ever
			return nil, err
		}
	}
	if err := m.permitted(ctx, r); err != nil {
		return nil, err
	}
	if err := m.ask(ctx, r, next); err != nil {
		return nil, err
	}
	next.Issued = max(issued, next.Issued)
	t, err := m.token(ctx, next, scope, issued)
	if err != nil {
		return nil, err
	}
	if anew || r.offering(now, m.skew) { // an old answer of the store may not show yet that it is bound
		if err := m.save(ctx, next); err != nil {
			return nil, err
		}
	}
	if m.cfg.OnGrace != nil {
		m.cfg.OnGrace(ctx, m.describe(next))
	}
	out := presented{sid: p.sid, family: p.family, generation: at.successor}
	return m.grant(next, scope, t, next.spell(&out), now), nil
}

// rotate makes the successor the current generation of s. A late retry's burns the one that
// waits: it is nobody's predecessor.
func (m *Manager) rotate(s *session, p *presented, at *position, successor secret, now int64) error {
	s.Held = slices.DeleteFunc(s.Held, func(x span) bool { return now-x.to() > 2*maxHeld })
	hash := p.generation.hash(useGeneration, p.sid)
	s.Steps = slices.DeleteFunc(s.Steps, func(x step) bool {
		return now > x.Until+m.skew+maxHeld || at.standing == late && subtle.ConstantTimeCompare(hash[:], x.Hash) == 1
	})
	if len(s.Steps) >= maxSteps { // those whose window is over are kept for as long as there is room
		s.prune(func(x *step) bool { return now <= x.Until+m.skew })
	}
	if len(s.Steps) >= maxSteps {
		return fmt.Errorf("%w: refreshed %d times within the grace window", errBusy, maxSteps)
	}
	if m.grace() > 0 {
		s.Steps = append(s.Steps, step{
			Hash: hash[:], Generation: at.generation, Seal: p.generation.seal(successor, p.sid, at.generation), Until: now + m.grace(),
		})
	}
	if at.standing == late {
		s.Late, s.LateAt = s.Late+1, now
	}
	s.Last, s.LastGeneration, s.LastAt = hash[:], at.generation, now
	if now > s.FormerUntil {
		s.Former, s.FormerUntil = nil, 0
	}
	s.nextGeneration(successor.hash(useGeneration, p.sid))
	return nil
}

// prune forgets the oldest steps, until one is to be kept: what is left leads from one to
// the next.
func (s *session) prune(keep func(*step) bool) {
	for len(s.Steps) > 0 && !keep(&s.Steps[0]) {
		s.Steps = s.Steps[1:]
	}
}

// hold notes in the session that a retry in the window could not be answered, so that
// the time does not count against it, and anyone who was told to try again is not convicted.
// What comes after the window was too late before. In a flood that is the window without any
// time that does not count: a thief who floods would otherwise keep it open for himself.
func (m *Manager) hold(ctx context.Context, p *presented, flood bool) {
	ctx, cancel := m.after(ctx)
	defer cancel()
	sid := sidText(p.sid)
	if _, err := (update[*session]{
		load: m.loading(sid, ErrNotFound),
		change: func(r *session) (*session, error) {
			if r.Ended != 0 {
				return r, nil
			}
			held, now := m.held(r), m.millis()-p.ahead
			at, err := m.position(r, p, p.arrived, held)
			if flood {
				held = nil
			}
			switch {
			case errors.Is(err, errBusy):
			case err != nil, at.standing == current, !at.known:
				return r, nil
			case (flood || !p.retry) && p.arrived-at.used-overlap(held, at.used, p.arrived) > m.grace()+m.skew:
				return r, nil
			}
			next := r.clone()
			next.Held = extend(next.Held, span{min(p.arrived, now), now})
			if n := len(r.Held); n > 0 && len(next.Held) == n && now-r.Held[n-1].to() < 1000 {
				return r, nil // it was a moment ago
			}
			return next, nil
		},
	}).do(ctx, m); err != nil {
		m.log.Debug("refresh: not noted that a retry could not be answered", "sid", sid, "error", err)
	}
}

// held returns the time that does not count for the session, as far as this instance knows.
func (m *Manager) held(s *session) []span { return append(m.outages.known(), s.Held...) }
