package replica

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/inside"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// in is what package revoke does for this one.
var in = inside.Revoke.(interface {
	// Follow makes a Feed the only one of l. Generations go on from the one returned,
	// which Leave was given by the Feed before.
	Follow(l *revoke.List) (generation uint64, err error)
	Leave(l *revoke.List, generation uint64)

	Counters(l *revoke.List) *inside.Counters

	// Gather takes an event of the log, bounded by when that stored it, and with the
	// reading that revokes most of the members that could not be used. It is applied by the
	// next Commit: when that returns, all checks that begin later see it. It reports whether
	// the event has the form of a credential for a value. It keeps neither e nor its texts.
	Gather(l *revoke.List, now revoke.Instant, stored time.Time, e *revoke.Event, unusable []string, h revoke.Retention, log *slog.Logger) (credential bool)
	Commit(l *revoke.List, now revoke.Instant)
	// Reading says what an optional member that cannot be used is taken for; "" if it is none.
	Reading(member string) string
	// Fault counts one, and returns it as it was counted.
	Fault(l *revoke.List, now revoke.Instant, fault revoke.Fault) revoke.Fault

	// Heard tells of the log server's clock, once what it stored then is in view.
	Heard(l *revoke.List, now revoke.Instant, stored time.Time)
	// Reads says that a log is being read from here on, or no longer.
	Reads(l *revoke.List, now revoke.Instant, log bool)
	// Extend has l know of the retention of a log.
	Extend(l *revoke.List, h revoke.Retention)

	// Proof and Prove take a [proof] apart, as neither package sees the other's.
	Proof(l *revoke.List) (proven revoke.Instant, block, reason revoke.Reason, critical int64)
	Prove(l *revoke.List, now, proven revoke.Instant, block, reason revoke.Reason, critical int64) (revoke.State, revoke.Reason, time.Duration)

	// OwnBeat and ClockAgrees tell of this process's clock, beside the log server's and
	// beside another member's.
	OwnBeat(l *revoke.List, sent, received revoke.Instant, stored time.Time)
	ClockAgrees(l *revoke.List, now revoke.Instant)

	// Prepare returns a [prepared].
	Prepare(l *revoke.List, id revoke.Identity) any
	// Quiet reports whether Check of what has written seen would accept it under any policy,
	// because l is fresh and nothing at all has happened since. False says nothing.
	Quiet(l *revoke.List, now revoke.Instant, seen *atomic.Uint64) bool
	PreparedBytes() int

	// Complete is that of Event, without its judgement.
	Complete(e revoke.Event, now time.Time, h revoke.Retention) (revoke.Event, error)
	ParseKind(name string) (revoke.Kind, bool)
	CheckIdentifier(field, s string) error
	CeilMilli(t time.Time) time.Time
})
