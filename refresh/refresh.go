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
// up all the same, the retry is answered, or told to log in again
// ("too late" in [Outcomes]) where nobody knows how long no answer was possible, or where
// there is no window, as in [HighSecurity]; the holder of the successor goes on.
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
		err = errUnknown
	}
	var g *Grant
	if p.ahead, p.arrived = ahead, m.millis()-ahead; err == nil {
		g, err = m.use(ctx, &p, call)
	}
	if p.unbound != nil {
		m.tellUnbound(ctx, p.unbound, err == nil)
	}
	switch {
	case err != nil:
	case p.stood == inWindow:
		m.counts.again.Add(1)
	case p.stood == late:
		m.counts.late.Add(1)
	}
	unjudged := ok && errors.Is(err, errClock) || errors.Is(err, errNotUnderstood)
	if (p.retry || unjudged) && errors.Is(err, ErrTryAgain) && !impatient(ctx, p.arrived+ahead, m.millis()) {
		m.hold(ctx, &p, errors.Is(err, errFlood))
	}
	return g, err
}

// use looks at the session again until nobody has changed it meanwhile.
func (m *Manager) use(ctx context.Context, p *presented, call *Request) (*Grant, error) {
	var answered *Grant
	var made rotation
	next, err := update[*session]{
		before: func(int) error { return m.restored(ctx, false) },
		load:   m.loading(sidText(p.sid), errUnknown),
		change: func(r *session) (_ *session, err error) {
			now := m.millis()
			at, err := m.presentedAt(ctx, r, p, call, now)
			if err != nil {
				return nil, err
			}
			if err := call.prove(r); err != nil {
				return nil, err
			}
			scope, err := r.allows(call)
			if err != nil {
				return nil, err
			}
			if at.standing == inWindow {
				p.retry = true
				answered, err = m.answer(ctx, r, p, &at, call, scope)
				return r, err
			}
			made = rotation{now: now, standing: at.standing, scope: scope}
			return m.nextOf(ctx, r, p, &at, call, &made)
		},
		landed: sameToken,
	}.do(ctx, m)
	if err != nil || answered != nil {
		return answered, err
	}
	return m.giveOut(ctx, next, p, &made), nil
}

// presentedAt says where the presented token stands in the session, if the session goes on
// and the token may be used. Otherwise it does to the session what that says.
func (m *Manager) presentedAt(ctx context.Context, r *session, p *presented, call *Request, now int64) (position, error) {
	if err := m.belongs(ctx, r, p, now); err != nil {
		return position{}, err
	}
	if err := m.goesOn(ctx, r, now); err != nil {
		return position{}, err
	}
	if r.bound() {
		p.unbound = r
		if !call.InsecureUnbound { // before anyone is convicted: a copy of the token is worth nothing
			return position{}, fmt.Errorf("%w: by its device", ErrPossession)
		}
	}
	at, err := m.stands(ctx, r, p, min(now, p.arrived))
	if err != nil {
		return position{}, err
	}
	return at, m.convict(ctx, r, p, at.standing)
}

// belongs returns an error unless the token is of the session's family.
func (m *Manager) belongs(ctx context.Context, r *session, p *presented, now int64) error {
	if r.ExactFrom == 1 && !p.exact { // all its tokens have a check
		return errUnknown
	}
	family := p.family.hash(useFamily, p.sid)
	switch {
	case subtle.ConstantTimeCompare(family[:], r.Family) == 1:
		return nil
	case len(r.Former) > 0 && now <= r.FormerUntil && subtle.ConstantTimeCompare(family[:], r.Former) == 1:
		return fmt.Errorf("%w: the session has a new refresh token", errBusy)
	}
	return m.unless(ctx, r, errUnknown)
}

// goesOn returns an error unless the session lives, as far as its record and the restores of
// the store tell.
func (m *Manager) goesOn(ctx context.Context, r *session, now int64) error {
	if r.Ended != 0 {
		return m.over(ctx, r)
	}
	if err := r.understood(); err != nil {
		return err
	}
	if m.revived(r) {
		return m.bringDown(ctx, r)
	}
	at, idle := r.deadline(&m.cfg.Lifetimes)
	switch {
	case now <= at:
		return nil
	case idle && now <= at+storeLag:
		return m.unless(ctx, r, ErrSessionExpired)
	}
	return ErrSessionExpired
}

// stands finds the presented generation. Before it is called used up for good, the store is
// asked for restores and outages that only others have seen. A retry that arrived in time is
// in time, however long the store took: it may have elected a leader meanwhile.
func (m *Manager) stands(ctx context.Context, r *session, p *presented, arrived int64) (position, error) {
	at, err := m.position(r, p, arrived, m.held(r))
	if err == nil && at.standing > inWindow {
		// To a store that was restored a moment ago every honest client's token is a replay.
		if err := m.restored(ctx, true); err != nil {
			return at, err
		}
		if m.revived(r) {
			return at, m.bringDown(ctx, r)
		}
	}
	if err == nil && at.known && at.standing > inWindow {
		if err := m.readOutages(ctx, 0); err != nil {
			return at, err
		}
		at, err = m.position(r, p, arrived, m.held(r))
	}
	p.retry = p.retry || errors.Is(err, errBusy)
	return at, err
}

// convict returns an error unless the token is good, and ends the session of one that was
// stolen.
func (m *Manager) convict(ctx context.Context, r *session, p *presented, is standing) error {
	switch {
	case is == replayed && p.good, is == late && p.good && p.stood == current:
		// It was good a moment ago: a lost compare-and-set is no replay, and no late retry, which
		// would burn what the other use was given.
		p.retry = true
		return fmt.Errorf("%w: used by another at the same time", errBusy)
	case is == replayed:
		return m.theft(ctx, r)
	case is == doubtful:
		return errTooLate
	}
	p.good, p.stood = true, is
	return nil
}

// A rotation is what one try has made for the client, to be given out once it is stored.
type rotation struct {
	now       int64
	standing  standing
	scope     []string
	successor secret
	token     minted
}

// nextOf returns the session with the next generation, and signs its access token: before the
// store decides, so that a failure to sign costs no generation.
func (m *Manager) nextOf(ctx context.Context, r *session, p *presented, at *position, call *Request, made *rotation) (*session, error) {
	// Before the denylist is asked: a proven instant that came after the answer would
	// let the token outrun a cutoff that the answer did not know.
	issued, err := m.issuedAt(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := m.permitted(ctx, r); err != nil {
		return nil, err
	}
	next := r.clone()
	next.cutWindows(made.now, m.grace(), m.skew)
	if err := m.ask(ctx, r, next); err != nil {
		return nil, err
	}
	if call.Device != (Device{}) {
		next.Label, next.Address = call.Device.Label, call.Device.Address
	}
	next.Used, next.Issued = max(made.now, next.Used), max(issued, next.Issued)
	made.successor = newSecret()
	if err := m.rotate(next, p, at, made.successor, made.now); err != nil {
		return nil, err
	}
	made.token, err = m.token(ctx, next, made.scope, issued)
	return next, err
}

// sameToken is [update].landed for a session that was given a new refresh token.
func sameToken(found, written *session) error {
	if found.Ended != 0 || found.Generation != written.Generation || !bytes.Equal(found.Current, written.Current) || found.Issued < written.Issued {
		return ErrConflict
	}
	return nil
}

// giveOut returns the grant of a rotation that is stored, and tells of it.
func (m *Manager) giveOut(ctx context.Context, s *session, p *presented, made *rotation) *Grant {
	m.noteSeals(s)
	if made.standing == late {
		m.log.Info("refresh: a used refresh token was presented late, and given a new successor", "sid", s.SID, "sub", s.Subject, "client_id", s.Client, "times", s.Late)
		if m.cfg.OnLate != nil {
			m.cfg.OnLate(ctx, m.describe(s))
		}
	}
	out := presented{sid: p.sid, family: p.family, generation: made.successor}
	return m.grant(s, made.scope, made.token, s.spell(&out), made.now)
}

// unless returns err if the record is what the store holds, and ErrConflict if it was
// overtaken: a store that lags may not show yet the family, or the use, that the client
// was told of. Only a compare-and-set tells, which leaves the record as it is. Strangers who
// know a session id can cause one a second; beyond, err is the answer at once. One that was
// overtaken wrote nothing and does not count: the store may be as far behind when it is read
// again.
func (m *Manager) unless(ctx context.Context, r *session, err error) error {
	if !m.confirms.allow(r.SID, m.now()) {
		return err
	}
	failed := m.save(ctx, r)
	if errors.Is(failed, ErrConflict) {
		m.confirms.giveBack(r.SID)
	}
	if failed != nil {
		return failed
	}
	return err
}

// storeLag is how old an answer of a store may be, in milliseconds: a deposed leader of
// a cluster answers for up to 20 s.
const storeLag = 30_000

// over answers for an ended session, and finishes what is pending.
func (m *Manager) over(ctx context.Context, r *session) error {
	err := ErrEnded
	if r.Reason == reasonReplay {
		err = ErrReused
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
func (m *Manager) theft(ctx context.Context, r *session) error {
	next := r.end(m.millis(), reasonReplay, "", true)
	m.owe(ctx, work{SID: r.SID}) // a thief need not come back
	ctx, cancel := m.after(ctx)
	defer cancel()
	if err := m.save(ctx, next); err != nil {
		return err // a conflict is looked at again; after all else the next use tells
	}
	m.counts.thefts.Add(1)
	if err := m.tell(ctx, next); err != nil {
		m.replayed(ctx, next)
		m.log.Error("refresh: session ended, and the services do not know it yet", "sid", r.SID, "error", err)
		return fmt.Errorf("%w: %w", ErrReused, withoutFamily{err})
	}
	m.unlist(ctx, next)
	return ErrReused
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
	m.onReplay(ctx, m.describe(s))
}

// onReplay calls the application's hook, also where a goroutine of ours has found the replay.
func (m *Manager) onReplay(ctx context.Context, s Session) {
	if err := guarded("hook", func() error { m.cfg.OnReplay(ctx, s); return nil }); err != nil {
		m.log.Error("refresh: Config.OnReplay panicked", "sid", s.ID)
	}
}

// withoutFamily keeps an error that says "log in again" from saying "try again" as
// well; it still matches ErrPending.
type withoutFamily struct{ err error }

func (w withoutFamily) Error() string { return w.err.Error() }

func (w withoutFamily) Is(target error) bool {
	return target != ErrTryAgain && errors.Is(w.err, target)
}

// unrevoked asks the denylist whether the session, by its start, may go on.
func (m *Manager) unrevoked(ctx context.Context, r *session) error {
	id := m.identity(r)
	switch err := m.cfg.Revocations.Check(m.now(), &id, revoke.Deny()); {
	case errors.Is(err, revoke.ErrRevoked):
		// The services know. Here it must not come back when they forget. An old answer
		// of the store ends nothing: it may not be the start that the session has now.
		if id.IssuedAt = time.UnixMilli(r.Issued); m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()) == nil {
			return m.superseded(ctx, r, err)
		}
		if failed := m.save(ctx, r.end(m.millis(), reasonDenylist, "", false)); failed != nil {
			return failed
		}
		return fmt.Errorf("%w: %w", ErrEnded, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTryAgain, err)
	}
	return nil
}

// permitted asks the denylist and the subject's record whether the session may go on.
func (m *Manager) permitted(ctx context.Context, r *session) error {
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
func (m *Manager) ask(ctx context.Context, r *session, next *session) error {
	if m.cfg.Ask == nil {
		return nil
	}
	a, err := m.cfg.Ask(ctx, m.describe(r))
	if err != nil {
		return fmt.Errorf("%w: %w", errAsk, err)
	}
	if a.End {
		reason := a.Reason
		if reason == "" {
			reason = endedByApplication
		}
		if err := m.checkEvent(revoke.KindSession, r.SID, reason, ""); err != nil {
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
			return fmt.Errorf("%w: %w", errAsk, err)
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
		return 0, fmt.Errorf("%w: the session begins in the future", errClock)
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
