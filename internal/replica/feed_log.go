package replica

import (
	"log/slog"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// logEvery is how often one and the same trouble on the log is logged: at once, and then
// what came since, counted.
const logEvery = time.Minute

// A trouble is what a message of the log suffers from. Both texts come from a short list,
// never from the message.
type trouble struct {
	fault  revoke.Fault // 0: none, it was applied
	member string
}

// credentialMember stands for the value or issuer that has the form of a credential.
const credentialMember = "credential"

// told is what the log was told of a trouble, and not yet.
type told struct {
	at       revoke.Instant
	since    uint64 // messages
	sequence uint64 // of the last of them
}

// LogTo has what the Feed says of messages go to l, unless the List has a Logger of its
// own. Call it before the first record.
func (f *Feed) LogTo(l *slog.Logger) {
	if l != nil && f.cfg.Logger.Handler() == slog.DiscardHandler {
		f.log = l
	}
}

// trouble logs what a message suffers from, in time.
func (f *Feed) trouble(now revoke.Instant, r *Record, what trouble) {
	t := f.logged[what]
	if t == nil {
		t = &told{}
		f.logged[what] = t
	}
	t.since++
	t.sequence = r.Sequence
	if t.at.IsZero() || now.Since(t.at) >= logEvery {
		f.tell(now, what, t)
	}
}

// summarize logs what was put off.
func (f *Feed) summarize(now revoke.Instant, last bool) {
	for what, t := range f.logged {
		if t.since > 0 && (last || now.Since(t.at) >= logEvery) {
			f.tell(now, what, t)
		}
	}
}

func (f *Feed) tell(now revoke.Instant, what trouble, t *told) {
	attrs := []any{"messages", t.since, "sequence", t.sequence}
	if what.member != "" {
		attrs = slices.Insert(attrs, 0, any("member"), any(what.member))
	}
	switch {
	case what.member == credentialMember:
		f.log.Warn("revocation log: events whose value or issuer has the form of a credential: they revoke nothing, and everybody who reads the log has it", "messages", t.since, "sequence", t.sequence)
	case what.fault != 0:
		f.log.Warn("revocation log: messages not applied", append([]any{"fault", what.fault.String()}, attrs...)...)
	default:
		f.log.Warn("revocation log: events applied without a member that cannot be used", append(attrs, "taken for", in.Reading(what.member))...)
	}
	t.at, t.since = now, 0
}
