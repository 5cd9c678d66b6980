package replica

import (
	"sort"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Position is not content. A mirror whose origin was deleted and made again, or restored
// from a backup, goes on from the number it has reached: it never takes what the origin
// has given smaller numbers since, reports neither lag nor error, and heartbeats cross it.
// So a heartbeat carries a [Digest] of what its sender has read of the origin, and a
// replica that holds something else is not proven by it.

// A mark is what a replica holds at a heartbeat that it has applied.
type mark struct {
	digest Digest
	proves revoke.Instant // the latest instant that this heartbeat or one before it proves; zero: none
	at     revoke.Instant // when it was applied
}

// maxMarks bounds the marks: senders name the heartbeat that they applied last, some
// seconds ago.
const maxMarks = 512

// A verdict is what a heartbeat's digest says of what this replica holds.
type verdict uint8

const (
	silent  verdict = iota // there is none, or none that can be compared
	agrees                 // its sender holds the same
	differs                // its sender holds something else
)

// Pauses between two readings of the log that follow a digest which differs. Somebody who
// sends wrong digests without end costs as many.
const (
	minDoubt = time.Minute
	maxDoubt = time.Hour
)

// A fork is what a Feed knows of other members' digests. It belongs to the Feed's goroutine.
type fork struct {
	digest LogDigest
	marks  []mark // oldest first
	whole  bool   // the last heartbeat has a mark

	mirror  bool // the log is read from a mirror
	attests bool // this member sends digests
	told    bool // a digest was seen: from now on a mirror needs them

	untold revoke.Instant // since when heartbeats prove a mirror without; zero: they do not
	warned bool           // of that

	serverTime time.Time // the log server's clock at the Instant began
	began      revoke.Instant
	caughtUp   time.Time // by that clock, when what was in the log at began had been read; zero: not yet

	differs  bool           // the last digest that could be compared did
	differAt uint64         // at that heartbeat
	logged   revoke.Instant // when that was said last
	doubtAt  revoke.Instant // when the log was last to be read a second time; zero: never
	doubtFor time.Duration  // after doubtAt, before the next
}

// begin takes note of a subscription; anew tells that it reads the log from its start.
func (k *fork) begin(now revoke.Instant, info LogInfo, anew bool) {
	k.mirror, k.serverTime, k.began = info.Mirror, info.Time, now
	if info.Time.IsZero() {
		k.serverTime = now.Time()
	}
	k.caughtUp = time.Time{}
	if info.Mirror {
		k.doubtAt = revoke.Instant{} // it may have been made anew
	}
	if anew {
		k.digest, k.marks, k.whole, k.differs = LogDigest{}, nil, false, false
	}
}

// suspect reports whether what was applied is known to be another log than the one that
// the mirror copies. When it was made anew, what was applied last stands in it all the
// same: an anchor proves nothing then.
func (k *fork) suspect(info LogInfo) bool { return k.differs && info.Mirror }

// logTime is the log server's clock now, as far as it is known.
func (k *fork) logTime(now revoke.Instant) time.Time {
	return k.serverTime.Add(time.Duration(now.Mono - k.began.Mono))
}

// mark takes note of what is held at the heartbeat r, just applied, which proves at. live
// says that it was sent just now, by a clock other than that of the log's timestamps: the
// server that gives them may be another than the one that is read, with a clock behind.
// Nothing is then missing that has come since the log was read.
func (k *fork) mark(now revoke.Instant, r *Record, at revoke.Instant, live bool) {
	// Either clock may have been set since.
	k.whole = k.digest.Whole(r, k.logTime(now)) || k.digest.Whole(r, now.Time()) ||
		live && !k.caughtUp.IsZero() && k.digest.Whole(r, k.caughtUp)
	if !k.whole {
		return
	}
	if n := len(k.marks); n > 0 && k.marks[n-1].proves.Mono > at.Mono {
		at = k.marks[n-1].proves
	}
	if len(k.marks) == 2*maxMarks {
		k.marks = append(k.marks[:0], k.marks[maxMarks:]...)
	}
	k.marks = append(k.marks, mark{k.digest.At(r), at, now})
}

// at returns the mark at a sequence.
func (k *fork) at(sequence uint64) (mark, bool) {
	i := sort.Search(len(k.marks), func(i int) bool { return k.marks[i].digest.Sequence >= sequence })
	if i == len(k.marks) || k.marks[i].digest.Sequence != sequence {
		return mark{}, false
	}
	return k.marks[i], true
}

// compare judges another's digest. For one that agrees it returns the mark that it covers.
func (k *fork) compare(d *Digest) (verdict, mark) {
	if d == nil {
		return silent, mark{}
	}
	k.told = true
	m, ok := k.at(d.Sequence)
	switch {
	case !ok:
		return silent, mark{}
	case m.digest != *d:
		k.differs, k.differAt = true, d.Sequence
		return differs, mark{}
	}
	k.differs = false
	return agrees, m
}

// Attest says that this member's heartbeats carry the digests of [Feed.Digest] in a form
// that others accept. A member that attests is silenced only by heartbeats whose digest
// agrees with what it holds. It is called before the first subscription.
func (f *Feed) Attest() { f.fork.attests = true }

// Digest returns the digest that an own heartbeat is to carry: at the heartbeat applied
// last. It is the zero Digest, which tells others only that this version knows digests,
// unless that heartbeat is a recent one, of the log itself and not of a mirror.
func (f *Feed) Digest() Digest {
	k := &f.fork
	if k.mirror || !k.whole || !f.open {
		return Digest{}
	}
	return k.marks[len(k.marks)-1].digest
}

// gated reports whether heartbeats prove only what an agreeing digest covers.
func (k *fork) gated() bool { return k.mirror && k.told }

// untoldFor is how long a replica behind a mirror may be proven without any digest before
// that is logged. Those that start the system send some within seconds.
const untoldFor = time.Minute

// trusting takes note of a heartbeat that proved a mirror although nobody has said what
// the log holds, and reports, once, that this has gone on for too long.
func (k *fork) trusting(now revoke.Instant) bool {
	switch {
	case !k.mirror || k.told:
		k.untold = revoke.Instant{}
	case k.untold.IsZero():
		k.untold = now
	case !k.warned && now.Since(k.untold) >= untoldFor:
		k.warned = true
		return true
	}
	return false
}

// Doubt reports whether the log should be read a second time, beside the subscription,
// because a heartbeat's digest differs from what this replica holds: once, and then ever
// more rarely. [Feed.Settle] takes what that reading finds at a heartbeat of at
// least this sequence.
func (f *Feed) Doubt(now revoke.Instant) (sequence uint64, ok bool) {
	k := &f.fork
	if !k.differs || !k.doubtAt.IsZero() && now.Since(k.doubtAt) < k.doubtFor {
		return 0, false
	}
	if k.doubtAt.IsZero() || now.Since(k.doubtAt) > k.doubtFor+maxDoubt {
		k.doubtFor = minDoubt
	} else {
		k.doubtFor = min(2*k.doubtFor, maxDoubt)
	}
	k.doubtFor += f.upTo(k.doubtFor / 4)
	k.doubtAt = now
	return k.differAt, true
}

// Settle compares the digest that a second reading of the log has found with what this
// replica holds. If it differs, the replica has missed something, and the caller ends the
// subscription and calls [Feed.Rewind]. known is false if the replica holds no digest at
// that sequence, perhaps not yet. If it does not, that is settled until the next digest that
// differs; behind a mirror it is not, which may hold another log than its origin.
func (f *Feed) Settle(d Digest) (same, known bool) {
	m, known := f.fork.at(d.Sequence)
	if same = known && m.digest == d; same && !f.fork.mirror {
		f.fork.differs = false
	}
	return same, known
}
