package refresh

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Refresh exchanges a refresh token for a new access token and its successor. Of any
// number of concurrent calls with one token, one rotates (invariant 8). A retry within
// the grace window ([Lifetimes].Grace) is given the same successor, byte for byte. After it
// a late retry may be given another (LateEvery); any other use is taken for theft, and ends the
// session here and at every service.
//
// The error is of [ErrLoginAgain] or [ErrTryAgain], or the caller's mistake: [ErrRequest]
// or [ErrScope]. After one of ErrTryAgain the client keeps its token and tries again in a
// second or two; for five minutes no such retry ends the session. If the token had been used
// up all the same, the retry is answered, or told [ErrTooLate] where nobody knows how long
// no answer was possible, or where there is no window, as in [HighSecurity].
func (m *Manager) Refresh(ctx context.Context, r Request) (*Grant, error) {
	began := m.millis()
	g, err := m.refresh(ctx, &r)
	m.count(ctx, &m.counts.refresh, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: %w", err)
	}
	return g, nil
}

func (m *Manager) refresh(ctx context.Context, call *Request) (*Grant, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	if err := call.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	ahead, err := m.clockOff()
	p, ok := parseToken(call.Token)
	if err == nil && !ok {
		err = ErrUnknown
	}
	var g *Grant
	if p.ahead, p.arrived = ahead, m.millis()-ahead; err == nil {
		g, err = m.use(ctx, &p, call)
	}
	switch {
	case err != nil:
	case p.stood == inWindow:
		m.counts.again.Add(1)
	case p.stood == late:
		m.counts.late.Add(1)
	}
	unjudged := ok && errors.Is(err, ErrClock) || errors.Is(err, errNotUnderstood)
	if (p.retry || unjudged) && errors.Is(err, ErrTryAgain) && !impatient(ctx, p.arrived+ahead, m.millis()) {
		m.hold(ctx, &p, errors.Is(err, errFlood))
	}
	return g, err
}

// use looks at the session again until nobody has changed it meanwhile.
func (m *Manager) use(ctx context.Context, p *presented, call *Request) (*Grant, error) {
	var failed error
	for range maxTries {
		g, err := m.tryRefresh(ctx, p, call)
		switch {
		case errors.Is(err, ErrConflict): // somebody else was first: look at what he did
		case errors.Is(err, errUnsure):
			failed = err
			if ctx.Err() != nil {
				return nil, err
			}
		default:
			return g, err
		}
		if failed != nil {
			break
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, ErrBusy
}

// errUnsure is of ErrStore: a write that may have happened, and may happen yet.
var errUnsure error = &member{ErrStore, "session store did not confirm"}

// tryRefresh reads the session and does what it says. ErrConflict means that it says
// something else by now.
func (m *Manager) tryRefresh(ctx context.Context, p *presented, call *Request) (*Grant, error) {
	if err := m.restored(ctx, false); err != nil {
		return nil, err
	}
	sid := sidText(p.sid)
	r, err := m.loadSession(ctx, sid)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	if r.ExactFrom == 1 && !p.exact { // all its tokens have a check
		return nil, ErrUnknown
	}
	now := m.millis()
	if family := p.family.hash(useFamily, p.sid); subtle.ConstantTimeCompare(family[:], r.Family) != 1 {
		if len(r.Former) > 0 && now <= r.FormerUntil && subtle.ConstantTimeCompare(family[:], r.Former) == 1 {
			return nil, fmt.Errorf("%w: the session has a new refresh token", ErrBusy)
		}
		return nil, m.unless(ctx, r, ErrUnknown)
	}
	if r.Ended != 0 {
		return nil, m.over(ctx, r)
	}
	if err := r.understood(); err != nil {
		return nil, err
	}
	if m.revived(r.session) {
		return nil, m.bringDown(ctx, r)
	}
	if at, idle := r.deadline(&m.cfg.Lifetimes); now > at {
		if idle && now <= at+storeLag {
			return nil, m.unless(ctx, r, ErrExpired)
		}
		return nil, ErrExpired
	}
	// A retry that came in time is in time, however long the store took: it may have
	// elected a leader meanwhile.
	arrived := min(now, p.arrived)
	at, err := m.position(r.session, p, arrived, m.held(r.session))
	if err == nil && at.standing > inWindow {
		// To a store that was restored a moment ago every honest client's token is a replay.
		if err := m.restored(ctx, true); err != nil {
			return nil, err
		}
		if m.revived(r.session) {
			return nil, m.bringDown(ctx, r)
		}
	}
	if err == nil && at.known && at.standing > inWindow {
		// Others may have seen the store fail.
		if err := m.readOutages(ctx, 0); err != nil {
			return nil, err
		}
		at, err = m.position(r.session, p, arrived, m.held(r.session))
	}
	if err != nil {
		p.retry = p.retry || errors.Is(err, ErrBusy)
		return nil, err
	}
	switch {
	case at.standing == replayed && p.good:
		// It was good a moment ago: a lost compare-and-set is no replay.
		p.retry = true
		return nil, fmt.Errorf("%w: used by another at the same time", ErrBusy)
	case at.standing == replayed:
		return nil, m.theft(ctx, r)
	case at.standing == doubtful:
		return nil, ErrTooLate
	}
	p.good, p.stood = true, at.standing
	scope, err := r.allows(call)
	if err != nil {
		return nil, err
	}
	if at.standing == inWindow {
		p.retry = true
		return m.answer(ctx, r, p, &at, call, scope)
	}
	// Before the denylist is asked: a proven instant that came after the answer would
	// let the token outrun a cutoff that the answer did not know.
	issued, err := m.issuedAt(ctx, r.session)
	if err != nil {
		return nil, err
	}
	if err := m.permitted(ctx, r); err != nil {
		return nil, err
	}
	next := r.clone()
	next.rein(now, m.grace(), m.skew)
	if err := m.ask(ctx, r, next); err != nil {
		return nil, err
	}
	if call.Device != (Device{}) {
		next.Label, next.Address = call.Device.Label, call.Device.Address
	}
	next.Used, next.Issued = max(now, next.Used), max(issued, next.Issued)
	successor := newSecret()
	if err := m.rotate(next, p, &at, successor, now); err != nil {
		return nil, err
	}
	current := successor.hash(useGeneration, p.sid)
	// Signed before the store decides and given out after: a failure to sign costs no
	// generation.
	t, err := m.token(ctx, next, scope, issued)
	if err != nil {
		return nil, err
	}
	switch _, err = m.saveSession(ctx, r.key, r.revision, next); {
	case errors.Is(err, ErrConflict):
		return nil, err
	case err != nil:
		again, failed := m.loadSession(ctx, sid)
		switch {
		case failed != nil || again.revision == r.revision:
			return nil, fmt.Errorf("%w: %w", errUnsure, err)
		case again.Ended != 0 || again.Generation != next.Generation || !bytes.Equal(again.Current, current[:]) || again.Issued < next.Issued:
			return nil, ErrConflict // another write came first, and ours never will
		}
	}
	if m.cfg.Lifetimes.Grace > 0 {
		m.eraser.note(sid, m.now().Add(m.cfg.Lifetimes.Grace+time.Duration(m.skew+1)*time.Millisecond+finishTimeout))
	}
	if at.standing == late {
		m.log.Info("refresh: a used refresh token was presented late, and given a new successor", "sid", sid, "sub", r.Subject, "client_id", r.Client, "times", next.Late)
		if m.cfg.OnLate != nil {
			m.cfg.OnLate(ctx, m.describe(next))
		}
	}
	out := presented{sid: p.sid, family: p.family, generation: successor}
	return m.grant(next, scope, t, next.spell(&out), now), nil
}

// unless returns err if the record is what the store holds, and ErrConflict if it was
// overtaken: a store that lags may not show yet the family, or the use, that the client
// was told of. Only a compare-and-set tells, which leaves the record as it is. Strangers who
// know a session id can cause one a second; beyond, err is the answer at once.
func (m *Manager) unless(ctx context.Context, r storedSession, err error) error {
	if !m.confirms.allow(r.SID, m.now()) {
		return err
	}
	switch _, failed := m.saveSession(ctx, r.key, r.revision, r.session); {
	case errors.Is(failed, ErrConflict):
		return ErrConflict
	case failed != nil:
		return failed
	}
	return err
}

// storeLag is how old an answer of a store may be, in milliseconds: a deposed leader of
// a cluster answers for up to 20 s.
const storeLag = 30_000

// over answers for an ended session, and finishes what is pending.
func (m *Manager) over(ctx context.Context, r storedSession) error {
	err := ErrEnded
	if r.Reason == reasonReplay {
		err = ErrReplayed
	}
	if r.Pending {
		if failed := m.tell(ctx, r); failed != nil {
			m.log.Warn("refresh: session ended, and the services do not know it yet", "sid", r.SID, "error", failed)
		}
	}
	return err
}

const reasonReplay = "refresh token replayed"

// theft ends a session whose token was used again. The compare-and-set is made against
// the very record that says so: an old answer of the store convicts nobody.
func (m *Manager) theft(ctx context.Context, r storedSession) error {
	next := r.clone()
	next.Ended, next.Reason, next.Pending, next.Steps = max(m.millis(), 1), reasonReplay, true, nil
	m.owe(ctx, work{SID: r.SID}) // a thief need not come back
	ctx, cancel := m.after(ctx)
	defer cancel()
	revision, err := m.saveSession(ctx, r.key, r.revision, next)
	if err != nil {
		return err // a conflict is looked at again; after all else the next use tells
	}
	m.counts.thefts.Add(1)
	if err := m.tell(ctx, storedSession{next, r.key, revision}); err != nil {
		m.replayed(ctx, next)
		m.log.Error("refresh: session ended, and the services do not know it yet", "sid", r.SID, "error", err)
		return fmt.Errorf("%w: %w", ErrReplayed, withoutFamily{err})
	}
	m.unlist(ctx, next)
	return ErrReplayed
}

// replayed tells the application of a replay.
func (m *Manager) replayed(ctx context.Context, s *session) {
	if s.Reason != reasonReplay {
		return
	}
	m.log.Warn("refresh: a refresh token was used again; its session is ended", "sid", s.SID, "sub", s.Subject, "client_id", s.Client)
	if m.cfg.OnReplay == nil {
		return
	}
	if l, ok := ctx.Value(laterKey{}).(*later); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.replayed = append(l.replayed, m.describe(s))
		return
	}
	m.cfg.OnReplay(ctx, m.describe(s))
}

// withoutFamily keeps an error that says "log in again" from saying "try again" as
// well; it still matches ErrPending.
type withoutFamily struct{ err error }

func (w withoutFamily) Error() string { return w.err.Error() }

func (w withoutFamily) Is(target error) bool {
	return target != ErrTryAgain && errors.Is(w.err, target)
}

// unrevoked asks the denylist whether the session, by its start, may go on.
func (m *Manager) unrevoked(ctx context.Context, r storedSession) error {
	id := m.identity(r.session)
	switch err := m.cfg.Revocations.Check(m.now(), &id, revoke.Deny()); {
	case errors.Is(err, revoke.ErrRevoked):
		// The services know. Here it must not come back when they forget. An old answer
		// of the store ends nothing: it may not be the start that the session has now.
		if id.IssuedAt = time.UnixMilli(r.Issued); m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()) == nil {
			return m.superseded(ctx, r, err)
		}
		next := r.clone()
		next.Ended, next.Reason, next.Steps = max(m.millis(), 1), reasonDenylist, nil
		if _, failed := m.saveSession(ctx, r.key, r.revision, next); failed != nil {
			return failed
		}
		return fmt.Errorf("%w: %w", ErrEnded, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTryAgain, err)
	}
	return nil
}

// permitted asks the denylist and the subject's record whether the session may go on.
func (m *Manager) permitted(ctx context.Context, r storedSession) error {
	if err := m.unrevoked(ctx, r); err != nil {
		return err
	}
	sub, err := m.loadSubject(ctx, r.Subject)
	if err != nil {
		return err
	}
	if sub.Op != "" {
		err := m.finish(ctx, r.Subject, sub)
		if err != nil {
			m.log.Warn("refresh: logout everywhere still pending", "error", err)
		}
		switch {
		case !sub.ending(r.SID):
		case err != nil:
			return fmt.Errorf("%w: %w", ErrEnded, withoutFamily{err})
		default:
			return ErrEnded
		}
	}
	if err := sub.understood(); err != nil {
		return err
	}
	if !sub.has(r.SID) {
		return m.relist(ctx, r, sub)
	}
	return nil
}

// ask has the application say whether the session may go on.
func (m *Manager) ask(ctx context.Context, r storedSession, next *session) error {
	if m.cfg.Ask == nil {
		return nil
	}
	a, err := m.cfg.Ask(ctx, m.describe(r.session))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAsk, err)
	}
	if a.End {
		reason := a.Reason
		if reason == "" {
			reason = endedByApplication
		}
		if err := m.sayable(revoke.KindSession, r.SID, reason, ""); err != nil {
			// It ends all the same: its word counts, not its words.
			m.log.Warn("refresh: the application's reason cannot be told", "sid", r.SID, "error", err)
			reason = endedByApplication
		}
		ctx, cancel := m.after(ctx)
		defer cancel()
		switch ended, err := m.end(ctx, r.SID, ending{reason: reason, publish: true}); {
		case ended == nil:
			return err // it is not over
		case err != nil:
			return fmt.Errorf("%w: %w", ErrEnded, withoutFamily{err})
		default:
			m.unlist(ctx, ended)
		}
		return ErrEnded
	}
	if a.Claims != nil {
		if next.Claims, err = encodeClaims(a.Claims); err != nil {
			return fmt.Errorf("%w: %w", ErrAsk, err)
		}
	}
	return nil
}

const endedByApplication = "ended by the application"

// issuedAt returns the instant of the next token: no later than this replica's proven
// instant, so that a cutoff it has not seen yet still covers the token, and not before
// the session's start. That may be ahead of this clock by more than a token may, if another
// instance's is ahead, and is then waited for.
func (m *Manager) issuedAt(ctx context.Context, s *session) (int64, error) {
	if ahead := s.Start - m.skew - m.millis(); ahead > m.slack {
		return 0, fmt.Errorf("%w: the session begins in the future", ErrBusy)
	} else if ahead > 0 {
		if err := m.pause(ctx, ahead); err != nil {
			return 0, err
		}
	}
	now := m.now()
	at := now.Time().UnixMilli()
	if !m.cfg.Revocations.Config().Local {
		status := m.cfg.Revocations.Status(now)
		if status.Proven.IsZero() {
			return 0, fmt.Errorf("%w: %w: nothing proven yet", ErrTryAgain, revoke.ErrStale)
		}
		at = min(at, status.Proven.Time().UnixMilli())
	}
	return max(s.Start, at), nil
}
