package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A ManagerStatus is what [Manager.Status] reports. What is counted is counted by this
// Manager since it was made, and begins at zero with each start: add up instances. It names
// no session and no user. In JSON durations are nanoseconds, and times RFC 3339.
type ManagerStatus struct {
	// What the calls of each method came to.
	Login, Refresh, Reauthenticate, Logout, Revoke, LogoutToken, LogoutAll, DeleteSubject, Sessions, BindDevice, RefreshBound Outcomes

	// Of Refresh.Done, those answered again within the window, and those answered as a late
	// retry (see [Lifetimes].LateEvery). The others have rotated.
	AnsweredAgain, AnsweredLate uint64

	// Thefts counts the sessions that this Manager has ended because a used refresh token
	// came again. A write that the store did not confirm is not counted. Each later use of
	// any token of such a session is one more "reused" in Refresh.LoginAgain.
	Thefts uint64

	// Pending is the work that the store holds for all instances: the same on each of them.
	Pending PendingStatus

	// Store is how full the Store is, if it can tell: if it has a method
	//
	//	Fill() StoreFill
	//
	// that returns at once and may be called concurrently. The Store of package natskv has.
	// Otherwise it is zero.
	Store StoreFill

	// Fell is when an instance noticed that the Store has lost what it had acknowledged, as
	// one that is restored from a backup has: no session is begun or refreshed until
	// [Manager.DeclareRestore]. Zero: this Manager's last reading of the Store told of none.
	Fell time.Time

	// ClockAhead is by how much, at least, this process's clock is ahead of the bus's, and
	// negative if it is behind, see [revoke.List.ClockOff]. Zero: the clocks agree, or
	// nothing is known. Unless it is zero, no session is begun or refreshed ([ErrTryAgain]).
	ClockAhead time.Duration
}

// Outcomes counts the calls of one method that have returned, each once: Done, or by the
// family and the kind of its error. A kind that did not occur is missing.
type Outcomes struct {
	// Done counts the calls without an error. One of LogoutToken is done, too, where the
	// token was unknown and nothing had to be.
	Done uint64

	// LoginAgain counts errors of [ErrLoginAgain]: "unknown", no refresh token of ours, or
	// one of a session that is forgotten; "expired", "ended", "reused", "too late", "client",
	// "possession", "superseded"; "other".
	LoginAgain map[string]uint64

	// TryAgain counts errors of [ErrTryAgain]: "store", "pending"; "busy", others used the
	// session, or its subject, at the same time; "clock", this process's is off, or that of an
	// instance or publisher that has dated something ahead; "mint", no access token could be
	// issued, or the one that was would be refused; "ask", the application did not answer
	// whether the session may go on; "challenge", a proof by the device's key is needed; "stale", the denylist's replica; "hung up", the caller's
	// context ended within a second, before there was an answer; "other".
	TryAgain map[string]uint64

	// Mistakes counts the caller's: "scope", "request", "login", "closed"; "event", a text
	// that no event may have; "other".
	Mistakes map[string]uint64
}

// A PendingStatus tells of what is over and perhaps not told to the services, as the last
// look of this Manager saw it. It looks about once a minute.
type PendingStatus struct {
	// At is when the look was finished. Zero: there was none yet.
	At time.Time
	// Count is the number of sessions and subjects named in the store that it could not
	// finish or strike off. One for whom nothing is pending any more is struck off by the
	// first look that finds it two minutes old.
	Count int
	// Incomplete: a part of the store's list could not be read, and there may be more.
	Incomplete bool
}

// A StoreFill is how full a [Store] is, in bytes.
type StoreFill struct {
	At       time.Time // when it was last measured. Zero: nothing is known
	Bytes    int64     // used then, and what has been added by this process since
	NewLimit int64     // beyond it new records are refused, as those of logins are
	MaxBytes int64     // what the Store can hold
}

// Status reports how m is doing, for a health page or a metric. It asks neither the store
// nor the bus, may be called as often as wanted, also on a closed Manager, and the result is
// the caller's. Calls that return meanwhile may be counted in it or not.
func (m *Manager) Status() ManagerStatus {
	c := &m.counts
	s := ManagerStatus{
		Login: c.login.outcomes(), Refresh: c.refresh.outcomes(), Reauthenticate: c.reauthenticate.outcomes(),
		Logout: c.logout.outcomes(), Revoke: c.revoke.outcomes(), LogoutToken: c.logoutToken.outcomes(),
		LogoutAll: c.logoutAll.outcomes(), DeleteSubject: c.deleteSubject.outcomes(), Sessions: c.sessions.outcomes(),
		BindDevice: c.bindDevice.outcomes(), RefreshBound: c.refreshBound.outcomes(),
		AnsweredAgain: c.again.Load(), AnsweredLate: c.late.Load(), Thefts: c.thefts.Load(),
		ClockAhead: m.cfg.Revocations.ClockOff(m.now()),
	}
	if p := m.pending.Load(); p != nil {
		s.Pending = PendingStatus{At: p.at.Time(), Count: p.count, Incomplete: p.failed}
	}
	if at := m.guard.since(); at != 0 {
		s.Fell = time.UnixMilli(at)
	}
	if f, ok := m.cfg.Store.(interface{ Fill() StoreFill }); ok {
		s.Store = f.Fill()
	}
	return s
}

// counts are what a Manager counts.
type counts struct {
	login, refresh, reauthenticate, logout, revoke, logoutToken, logoutAll, deleteSubject, sessions, bindDevice, refreshBound callCounts

	again, late, thefts atomic.Uint64
}

// kinds of errors, by family. The first that matches counts.
var kinds = [...]struct {
	err    error
	name   string
	family error // nil: the caller's mistake
}{
	{ErrReused, "reused", ErrLoginAgain}, // before ErrEnded, which it is, too
	{ErrEnded, "ended", ErrLoginAgain},
	{errUnknown, "unknown", ErrLoginAgain},
	{ErrSessionExpired, "expired", ErrLoginAgain},
	{errTooLate, "too late", ErrLoginAgain},
	{ErrClient, "client", ErrLoginAgain},
	{ErrPossession, "possession", ErrLoginAgain},
	{ErrSuperseded, "superseded", ErrLoginAgain},
	{ErrLoginAgain, "other", ErrLoginAgain},

	{errHungUp, "hung up", ErrTryAgain},
	{errChallenge, "challenge", ErrTryAgain},
	{ErrPending, "pending", ErrTryAgain}, // before what kept it from being done
	{errClock, "clock", ErrTryAgain},
	{errMint, "mint", ErrTryAgain},
	{errAsk, "ask", ErrTryAgain},
	{ErrStore, "store", ErrTryAgain},
	{errBusy, "busy", ErrTryAgain},
	{revoke.ErrStale, "stale", ErrTryAgain},
	{ErrTryAgain, "other", ErrTryAgain},

	{ErrScope, "scope", nil},
	{ErrRequest, "request", nil},
	{ErrLogin, "login", nil},
	{ErrClosed, "closed", nil},
	{revoke.ErrInvalidEvent, "event", nil},
	{nil, "other", nil},
}

// errHungUp stands for an error whose cause is the caller.
var errHungUp error = &member{ErrTryAgain, "the caller hung up"}

// callCounts count the calls of one method: by kind, and those that are done last.
type callCounts [len(kinds) + 1]atomic.Uint64

func (c *callCounts) outcomes() Outcomes {
	o := Outcomes{Done: c[len(kinds)].Load(), LoginAgain: map[string]uint64{}, TryAgain: map[string]uint64{}, Mistakes: map[string]uint64{}}
	for i := range kinds {
		n := c[i].Load()
		if n == 0 {
			continue
		}
		switch kinds[i].family {
		case ErrLoginAgain:
			o.LoginAgain[kinds[i].name] = n
		case ErrTryAgain:
			o.TryAgain[kinds[i].name] = n
		default:
			o.Mistakes[kinds[i].name] = n
		}
	}
	return o
}

// count counts a call that began then, in unix milliseconds, and came to err.
func (m *Manager) count(ctx context.Context, c *callCounts, began int64, err error) {
	if err == nil {
		c[len(kinds)].Add(1)
		return
	}
	again, try := errors.Is(err, ErrLoginAgain), errors.Is(err, ErrTryAgain)
	if try && !again && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && impatient(ctx, began, m.millis()) {
		err = errHungUp
	}
	for i := range kinds {
		k := &kinds[i]
		switch k.family { // what a kind wraps may be of another one
		case ErrLoginAgain:
			if !again {
				continue
			}
		case ErrTryAgain:
			if again || !try {
				continue
			}
		default:
			if again || try {
				continue
			}
		}
		if k.err == nil || errors.Is(err, k.err) {
			c[i].Add(1)
			return
		}
	}
}
