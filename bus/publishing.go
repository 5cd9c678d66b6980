package bus

import "time"

// Publishing is what a [Member] has published and what it knows of its stream. One that has
// not published knows nothing of it; one that has looks every 25 to 35 s, and after each
// reconnect, whether the stream still holds what it acknowledged.
type Publishing struct {
	Acknowledged   uint64    // events
	Losses         uint64    // times the stream seemed to have lost acknowledged messages
	Contradicted   uint64    // acknowledgements that told of a loss which the stream itself did not know of: forged
	Republished    uint64    // events, after such a loss
	Pending        int       // events still to be republished
	Withheld       int       // of those, events that the server refuses each time, or ends the connection for; they are tried again every ten minutes
	Expired        uint64    // events that expired, by our clock and the server's, before they were acknowledged, or acknowledged again
	Forgotten      uint64    // events that a later loss would find no longer known here, alive though they were
	Checked        time.Time // when the stream was last found to hold what it had acknowledged; zero: never
	OutboxFailures uint64    // to open or write the outbox file; events published meanwhile would not survive a restart
	OutboxDamaged  uint64    // stretches of the outbox file that did not check out when it was opened
	OutboxSetAside string    // where that file is kept, as it was; empty: it was not damaged, or empty
	OutboxErr      error     // of the last attempt to open or write it; nil if that went well

	// ClockAhead is how far our clock was before the server's when it was last asked;
	// negative: behind. A difference of more than 10 s is logged. Cutoffs of a clock that is
	// behind an issuer's by more than MaxSkew can spare tokens issued before them.
	ClockAhead time.Duration

	// Fill is the share of the stream's MaxBytes by which Publish takes and refuses events:
	// as last read, and what was written since. It is 1 or more from when the server refuses
	// one for want of room, also in its account or on its disk, until there is some again.
	Fill float64

	Unsafe []string // why nothing is published to the stream; see [ErrStreamUnsafe]
	Weak   []string // why an accident could lose what the stream holds: one replica, in memory …
}
