package revoke

import (
	"slices"
	"sync/atomic"
	"time"
)

// What a received event says besides what it revokes is optional, or for people. A
// member of that sort that cannot be used, because another program wrote null for
// "absent", or seconds, or a novel for a reason, never costs the revocation: it is left
// out, the event takes the reading that revokes most, and the member is counted by its
// name in [Stats].Unusable.

// optionalMembers are the members of an event on the wire that cannot void it, by their
// names there, and what an unusable one is taken for.
var optionalMembers = [...]struct{ name, reading string }{
	{"id", "none"},
	{"before", "the latest cutoff that the event could have"},
	{"keep", "spares nobody"},
	{"until", "the longest life that its kind can need"},
	{"reason", "none"},
	{"actor", "none"},
	{"at", "a clock that was right about before"},
	{"critical", "not critical"},
	{"value", "none, as kind issuer has it"},
}

func optionalMember(name string) int {
	for i := range optionalMembers {
		if optionalMembers[i].name == name {
			return i
		}
	}
	return -1
}

// maxTime is the last time that every reader of JSON holds exactly: 2⁵³ − 1 ms.
var maxTime = time.UnixMilli(1<<53 - 1)

func usableTime(t time.Time) bool { return !t.Before(minTime) && !t.After(maxTime) }

// DropUnusable makes of e what a replica takes it for: what [Event.Validate] would
// refuse and cannot void a revocation is left out, and its names, as on the wire, are
// returned. The error, of the family [ErrInvalidEvent],
// is for what can: Issuer, Kind and Value.
func (e *Event) DropUnusable() (members []string, err error) {
	if count := judged.Load(); count != nil {
		count.Add(1)
	}
	if err := e.checkNamed(); err != nil {
		return nil, err
	}
	drop := func(name string, unusable bool) bool {
		if unusable {
			members = append(members, name)
		}
		return unusable
	}
	for _, f := range [...]struct {
		name string
		text *string
	}{{"id", &e.ID}, {"reason", &e.Reason}, {"actor", &e.Actor}} {
		if drop(f.name, checkText(f.name, *f.text, 0, MaxReasonBytes) != nil) {
			*f.text = ""
		}
	}
	for _, f := range [...]struct {
		name string
		time *time.Time
	}{{"before", &e.Before}, {"until", &e.Until}, {"at", &e.At}} {
		if !f.time.IsZero() && drop(f.name, !usableTime(*f.time) || f.name == "before" && !e.Kind.Cutoff()) {
			*f.time = time.Time{}
		}
	}
	if drop("keep", e.checkKeep() != nil) {
		e.Keep = nil
	}
	return members, nil
}

// assume gives the members that could not be used the reading that revokes most, within
// what clamp, which comes after it, allows. The stream's timestamp is ts.
func (e *Event) assume(unusable []string, ts time.Time, h Retention) {
	if len(unusable) == 0 {
		return
	}
	if slices.Contains(unusable, "at") && !e.Before.IsZero() {
		e.At = e.Before.Add(-h.Slack()) // the publisher's clock was right about before
	}
	if slices.Contains(unusable, "before") && e.Kind.Cutoff() {
		e.Before = maxTime
	}
	if !slices.Contains(unusable, "until") {
		return
	}
	from := ts
	if e.At.After(from) { // the log server's clock may be behind
		from = e.At
	}
	if furthest := ts.Add(maxAhead); from.After(furthest) {
		from = furthest
	}
	switch e.Kind {
	case KindToken:
		e.Until = from.Add(h.TokenLifetime)
	case KindKey:
		e.Until = from.Add(h.Longest(KindKey))
	default:
		e.Until = from.Add(max(h.TokenLifetime, h.SessionLifetime))
	}
}

// unusables counts members that could not be used.
type unusables [len(optionalMembers)]atomic.Uint64

func (u *unusables) read() map[string]uint64 {
	m := map[string]uint64{}
	for i := range u {
		if n := u[i].Load(); n > 0 {
			m[optionalMembers[i].name] = n
		}
	}
	return m
}
