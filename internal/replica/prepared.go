package replica

import (
	"context"
	"sync/atomic"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Prepared is a [revoke.Identity] made ready to be checked many times against one
// List, for callers that keep verified tokens: its values are hashed already, and
// while no event arrives that could concern it, it is not looked up again. Its answers
// are those of List.Check. Its methods may be called concurrently. The zero Prepared is of
// no List.
type Prepared struct {
	// seen is all that a check reads of a Prepared if nothing at all has happened since the one
	// before, so that it lies with what its owner reads, and not with the rest.
	seen atomic.Uint64
	of   prepared
}

// A prepared is what package revoke makes of an identity. It is an interface because its type
// needs what that shows nobody.
type prepared interface {
	// Check is that of Prepared. In seen it keeps what Quiet needs.
	Check(now revoke.Instant, policy revoke.Policy, seen *atomic.Uint64) error
	Watch(now revoke.Instant, revoked context.CancelCauseFunc) (stop func(), err error)
}

// Prepare returns id prepared for l. It does not keep id or its strings.
func Prepare(l *revoke.List, id *revoke.Identity) Prepared {
	return Prepared{of: in.Prepare(l, *id).(prepared)}
}

// Check is that of l, which p was prepared for. Freshness is judged each time.
// It takes no lock and allocates nothing unless it refuses as stale.
func (p *Prepared) Check(l *revoke.List, now revoke.Instant, policy revoke.Policy) error {
	if in.Quiet(l, now, &p.seen) {
		return nil
	}
	return p.of.Check(now, policy, &p.seen)
}

// Watch is for a token that stays in use after it was checked, as that of a connection
// does: revoked is called once, with the error that a check then returns, when an event
// is applied that revokes it. If there is one already, Watch returns that error instead,
// and a stop that does nothing. So no event is missed between a check and the waiting
// for the next event.
//
// revoked is called soon after the event, not by the goroutine that applied it, and must
// return at once, as a function that [context.WithCancelCause] made does: others wait
// behind it. stop ends the watch, whether the token was revoked or not, and may be called
// more than once; revoked may still run then. A watch that is not stopped stays as long
// as the List.
//
// Watch hears of events alone. That a token expires, or that the List is no longer fresh,
// the caller has to notice. An event costs the same however many watch: it finds those
// that it names by look-up.
func (p *Prepared) Watch(now revoke.Instant, revoked context.CancelCauseFunc) (stop func(), err error) {
	return p.of.Watch(now, revoked)
}

// PreparedBytes is the memory that p refers to.
func PreparedBytes() int { return in.PreparedBytes() }
