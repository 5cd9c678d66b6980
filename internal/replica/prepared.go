package replica

import (
	"context"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Prepared is a [revoke.Identity] made ready to be checked many times against one
// List, for callers that keep verified tokens: its values are hashed already, and
// while no event arrives that could concern it, it is not looked up again. Its answers
// are those of List.Check. Its methods may be called concurrently.
//
// It is an interface because its type needs what package revoke shows nobody.
type Prepared interface {
	// Check is List.Check for what this was prepared from. Freshness is judged each time.
	// It takes no lock and allocates nothing unless it refuses as stale.
	Check(now revoke.Instant, policy revoke.Policy) error

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
	Watch(now revoke.Instant, revoked context.CancelCauseFunc) (stop func(), err error)
}

// Prepare returns id prepared for l. It does not keep id or its strings.
func Prepare(l *revoke.List, id *revoke.Identity) Prepared { return in.Prepare(l, *id).(Prepared) }

// PreparedBytes is the memory that a Prepared takes.
func PreparedBytes() int { return in.PreparedBytes() }
