package refresh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A LogoutAllOption changes one [Manager.LogoutAll].
type LogoutAllOption func(*logoutAll)

type logoutAll struct {
	keep          []string
	reason, actor string
	forget        bool // see [Manager.DeleteSubject]
}

// Keep spares those sessions, at most [revoke.MaxKeep]. The first gets a new refresh
// token, which [Manager.LogoutAll] returns: it is the one that the password was changed
// from. Those that are not live are not kept.
func Keep(sessionIDs ...string) LogoutAllOption {
	return func(c *logoutAll) { c.keep = append(c.keep, sessionIDs...) }
}

// Because says why, for people; "logout everywhere" unless it is given.
func Because(reason string) LogoutAllOption { return func(c *logoutAll) { c.reason = reason } }

// By says who asked for it, for people.
func By(actor string) LogoutAllOption { return func(c *logoutAll) { c.actor = actor } }

// LogoutAll ends all sessions of a subject but those that are kept, here and at every
// service: after a password change, a theft, before a ban. Change the password first;
// everybody who was authenticated before the call is logged out with the rest. It returns the
// new grant of the first kept session, or nil if none is kept or it is over.
//
// The services are told first, beside the work on the store. Once begun nothing ends with
// ctx: telling is given up after 15 s, and ending the sessions after a minute.
//
// An error of [ErrTryAgain] means that not all is done. Where the store has the logout, what
// is left is finished by the next login, listing or refresh of the subject, or by a Manager
// that runs; where it
// has not ([ErrPending], too), the services refuse the tokens, and nobody ends the sessions:
// call again. One that matches [revoke.ErrInvalidEvent] names the text, of [Because], [By] or
// the subject, that no event may have; nothing is done then, nor after [ErrRequest], which
// names an empty subject or too many sessions to keep.
func (m *Manager) LogoutAll(ctx context.Context, sub string, options ...LogoutAllOption) (*Grant, error) {
	call := logoutAll{reason: "logout everywhere"}
	for _, o := range options {
		o(&call)
	}
	began := m.millis()
	g, err := m.logoutAll(ctx, sub, &call)
	m.count(ctx, &m.counts.logoutAll, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: logout everywhere: %w", err)
	}
	return g, nil
}

func (m *Manager) logoutAll(ctx context.Context, sub string, call *logoutAll) (*Grant, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	switch {
	case sub == "":
		return nil, fmt.Errorf("%w: the subject is empty", ErrRequest)
	case len(call.keep) > revoke.MaxKeep:
		return nil, fmt.Errorf("%w: %d sessions to keep, more than %d", ErrRequest, len(call.keep), revoke.MaxKeep)
	}
	for _, sid := range call.keep { // of no live session, it would be passed over, and the session it meant ended
		if err := replica.CheckIdentifier("keep", sid); errors.Is(err, revoke.ErrCredential) {
			return nil, err
		}
	}
	if err := m.checkEvent(revoke.KindSubject, sub, call.reason, call.actor); err != nil {
		return nil, err
	}
	// What is certain is told first: anyone who was authenticated before now is logged out.
	now := m.millis()
	told := m.startTelling(ctx, revoke.Event{
		Kind: revoke.KindSubject, Value: sub, Before: time.UnixMilli(now), Keep: keepable(call.keep),
		Reason: call.reason, Actor: call.actor,
	}, now)
	kept, err := m.endAll(ctx, sub, call, told)
	if err != nil {
		return nil, err
	}
	for _, sid := range call.keep {
		if slices.Contains(kept, sid) {
			return m.renew(ctx, sid)
		}
	}
	return nil, nil
}

// keepable returns what an event can keep of a caller's list: at most once, and ids that a
// session can have.
func keepable(sids []string) (keep []string) {
	for _, sid := range sids {
		if _, ok := parseSID(sid); ok && !slices.Contains(keep, sid) {
			keep = append(keep, sid)
		}
	}
	return keep
}

// endAll ends the sessions of a subject in the store, and tells the services what told has
// not. It returns the ids of those that were kept.
func (m *Manager) endAll(ctx context.Context, sub string, call *logoutAll, told *telling) ([]string, error) {
	done, err := m.decide(ctx, sub, call, told)
	if err != nil {
		if failed := told.wait(); failed != nil {
			return nil, fmt.Errorf("%w; %w", err, failed)
		}
		return nil, fmt.Errorf("%w: the services know it, and no session has ended: %w", ErrPending, err)
	}
	kept := done.Keep
	return kept, m.finishTold(ctx, sub, done, told, endTimeout)
}

// decide makes the compare-and-set of a logout everywhere. Its cutoff is the one that is
// being told, unless it has to be made anew.
func (m *Manager) decide(ctx context.Context, sub string, call *logoutAll, told *telling) (*subject, error) {
	now, op, tries := told.until, rand.Text(), 0
	return update[*subject]{
		load: m.loadingSubject(sub),
		change: func(r *subject) (*subject, error) {
			tries++
			if r.Op != "" {
				err := m.finish(ctx, sub, r)
				if err == nil {
					return nil, ErrConflict
				}
				if len(r.Ending)+len(r.Live) > maxSessions {
					return nil, err
				}
				// It may fail for ever. This one takes its work over: it covers what that one
				// does, since it keeps none but those that that one has left.
				m.log.Warn("refresh: logout everywhere still pending", "error", err)
			}
			if tries > 1 { // since the first others may have logged in
				now = m.millis()
			}
			next := &subject{
				V: recordVersion, Cutoff: max(now, r.Cutoff), Op: op, At: now, Ending: slices.Clone(r.Ending),
				Reason: call.reason, Actor: call.actor, unknown: r.unknown, place: r.place,
			}
			if call.forget || r.forgets() {
				next.Forget = op
			}
			for _, l := range r.Live {
				if slices.Contains(call.keep, l.SID) {
					next.Live, next.Keep = append(next.Live, l), append(next.Keep, l.SID)
				} else {
					next.Ending = append(next.Ending, l)
				}
			}
			if !told.soon() || next.forgets() {
				m.owe(ctx, work{Subject: sub})
			}
			return next, nil
		},
		landed: func(found, _ *subject) error {
			if found.Op == op {
				return nil
			}
			return errUnsure // if it happens later, somebody finds it
		},
		budget: finishTimeout, // what another one has left takes no time from this one
	}.do(ctx, m)
}

// finish does what a logout everywhere has still to do: it ends the sessions that were
// live when its compare-and-set was made, publishes, and takes note of it.
func (m *Manager) finish(ctx context.Context, sub string, r *subject) error {
	return m.finishTold(ctx, sub, r, nil, finishTimeout)
}

// finishTold is finish where the services are perhaps being told already. Ending the
// sessions may take so long, and telling has a budget of its own.
func (m *Manager) finishTold(ctx context.Context, sub string, r *subject, told *telling, budget time.Duration) error {
	if !told.covers(r) {
		told = m.startTelling(ctx, revoke.Event{
			ID: r.Op, Kind: revoke.KindSubject, Value: sub, Before: time.UnixMilli(r.Cutoff), Keep: r.Keep,
			Until:  m.outlives(r.Cutoff),
			Reason: r.Reason, Actor: r.Actor,
		}, r.Cutoff)
	}
	ends, cancel := context.WithTimeout(detach(ctx), budget)
	defer cancel()
	how := ending{reason: r.Reason, actor: r.Actor}
	var mu sync.Mutex
	var failed []error
	var down atomic.Bool // the bus: who waits for it does so once
	each(m.parallel, r.Ending, func(l live) {
		s, err := m.end(ends, l.SID, how)
		// By the clock of another instance, its last token came after the cutoff.
		if late := err == nil && s.Issued > r.Cutoff; late || err == nil && s.Pending {
			switch {
			case down.Load():
				err = fmt.Errorf("%w: not tried", ErrPending)
			case s.Pending:
				err = m.settle(ctx, l.SID)
			default:
				err = m.publish(ctx, m.sessionEvent(l.SID, s.Issued, r.Reason, r.Actor))
			}
			if errors.Is(err, ErrPending) {
				down.Store(true)
			}
		}
		if err == nil && r.forgets() {
			err = m.forget(ends, l.SID)
		}
		if err != nil {
			mu.Lock()
			failed = append(failed, err)
			mu.Unlock()
		}
	})
	if err := told.wait(); err != nil {
		failed = append(failed, err)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of its steps failed, the first: %w", len(failed), failed[0])
	}
	ctx, done := m.after(ctx)
	defer done()
	if _, err := (update[*subject]{
		load: beginning(r, m.loadingSubject(sub)),
		change: func(found *subject) (*subject, error) {
			if found.Op != r.Op {
				return found, nil
			}
			next := *found
			next.Op, next.At, next.Keep, next.Ending, next.Reason, next.Actor, next.Forget = "", 0, nil, nil, "", "", ""
			return &next, nil
		},
		repeat: true,
	}).do(ctx, m); err == nil && r.forgets() {
		m.disown(ctx, work{Subject: sub})
	}
	return nil // done, if perhaps not noted: then it is done again
}

// renew gives a kept session new secrets. Anyone who still presents the old ones is told
// to try again for a while, in which the new ones arrive, and is then unknown.
func (m *Manager) renew(ctx context.Context, sid string) (*Grant, error) {
	var p presented
	var t minted
	var now int64
	next, err := update[*session]{
		load: m.loading(sid, fmt.Errorf("%w: it does not show the session to be kept; all others are ended", ErrStore)),
		change: func(r *session) (next *session, err error) {
			if err := m.renewable(ctx, r); err != nil {
				return nil, err
			}
			issued, err := m.issuedAt(ctx, r)
			if err != nil {
				return nil, err
			}
			// Others may have revoked it; a new token would outrun their cutoff.
			if err := m.unrevoked(ctx, r); err != nil {
				return nil, err
			}
			raw, _ := parseSID(sid) // it was found under it
			p = presented{sid: raw, family: newSecret(), generation: newSecret()}
			now = m.millis()
			next = r.clone()
			next.newFamily(&p, now, m.cfg.Lifetimes.Grace)
			next.Used, next.Issued = max(now, next.Used), max(issued, next.Issued)
			t, err = m.token(ctx, next, next.Scope, issued)
			return next, err
		},
		landed: sameToken,
	}.do(ctx, m)
	switch {
	case errors.Is(err, ErrEnded), errors.Is(err, ErrSessionExpired):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return m.grant(next, next.Scope, t, p.encode(), now), nil
}

// renewable returns an error unless the session goes on and may be written.
func (m *Manager) renewable(ctx context.Context, r *session) error {
	if r.Ended != 0 {
		return ErrEnded
	}
	err := m.clock()
	if err == nil {
		err = r.understood()
	}
	if err == nil {
		err = m.restored(ctx, false)
	}
	switch {
	case err != nil:
		return fmt.Errorf("all others are ended: %w", err)
	case m.revived(r):
		return m.bringDown(ctx, r)
	}
	return nil
}

// newFamily gives the session the secrets of p.
func (s *session) newFamily(p *presented, now int64, grace time.Duration) {
	family := p.family.hash(useFamily, p.sid)
	s.Former, s.FormerUntil = s.Family, now+max(grace, formerGrace).Milliseconds()
	s.Family, s.Steps, s.Last, s.Held = family[:], nil, nil, nil
	s.LastGeneration, s.LastAt = 0, 0
	s.nextGeneration(p.generation.hash(useGeneration, p.sid))
}

const formerGrace = 10 * time.Second

// each calls do for every element, some of them at once.
func each[T any](parallel int, list []T, do func(T)) {
	if parallel <= 1 {
		for _, x := range list {
			do(x)
		}
		return
	}
	var wg sync.WaitGroup
	room := make(chan struct{}, parallel)
	for _, x := range list {
		room <- struct{}{}
		wg.Go(func() {
			do(x)
			<-room
		})
	}
	wg.Wait()
}
