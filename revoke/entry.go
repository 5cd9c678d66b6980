package revoke

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// An entry is the sum of every event with one key. Sums of entries commute,
// associate and are idempotent, so that order, duplication and replay change
// nothing (invariant 4), and a token is revoked if it is by any summand.
type entry struct {
	id     digest
	kind   Kind
	before int64       // unix milliseconds; forever for kinds that are no cutoff
	until  uint32      // unix seconds, rounded up
	keep   *exceptions // nil: spares nobody
}

const (
	// forever is a cutoff that every iat meets. It is the largest that a table slot
	// holds: the year 2527.
	forever = 1<<cutoffBits - 1
	never   = math.MinInt64 // a cutoff that no iat meets
)

// exceptions says, for sids named in Keep, the largest Before among the events that
// do not spare them, where that is less than the entry's own. A sid that is left in
// was spared by every event with the largest Before, so there are never more than
// MaxKeep. It is immutable.
type exceptions struct {
	list []exception // sorted by sid
}

type exception struct {
	sid    digest // of KindSession
	before int64
}

func compareDigests(a, b digest) int {
	return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo))
}

// find returns the cutoff that applies to sid, which is all unless sid is spared
// by some event.
func (x *exceptions) find(sid digest, all int64) int64 {
	if x == nil {
		return all
	}
	i, ok := slices.BinarySearchFunc(x.list, sid, func(e exception, sid digest) int { return compareDigests(e.sid, sid) })
	if !ok {
		return all
	}
	return x.list[i].before
}

// newEntry turns a completed or clamped event into an entry.
func newEntry(of *gatheredIssuer, e *Event) entry {
	n := entry{id: of.digest(e.Kind, e.Value), kind: e.Kind, before: forever, until: ceilSeconds(e.Until)}
	if e.Kind.Cutoff() {
		n.before = min(max(ceilMilli(e.Before).UnixMilli(), 0), forever-1)
	}
	if len(e.Keep) > 0 {
		x := &exceptions{list: make([]exception, 0, len(e.Keep))}
		for _, sid := range e.Keep {
			x.list = append(x.list, exception{of.digest(KindSession, sid), never})
		}
		slices.SortFunc(x.list, func(a, b exception) int { return compareDigests(a.sid, b.sid) })
		x.list = slices.Compact(x.list)
		n.keep = x
	}
	return n
}

// ceilSeconds rounds t up to whole unix seconds that fit a table slot. A time past
// 2106 becomes the last one that fits.
func ceilSeconds(t time.Time) uint32 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return uint32(min(max(s, 1), math.MaxUint32))
}

// merge returns the sum of a and b, which have one key.
func merge(a, b entry) entry {
	return entry{id: a.id, kind: a.kind, before: max(a.before, b.before), until: max(a.until, b.until), keep: mergeExceptions(a, b)}
}

func mergeExceptions(a, b entry) *exceptions {
	if a.keep == nil && b.keep == nil {
		return nil
	}
	var as, bs []exception
	if a.keep != nil {
		as = a.keep.list
	}
	if b.keep != nil {
		bs = b.keep.list
	}
	list := make([]exception, 0, len(as)+len(bs))
	for len(as) > 0 || len(bs) > 0 {
		var c int
		switch {
		case len(as) == 0:
			c = 1
		case len(bs) == 0:
			c = -1
		default:
			c = compareDigests(as[0].sid, bs[0].sid)
		}
		// A sid that one side never names is revoked by everything on that side.
		switch {
		case c < 0:
			list = append(list, exception{as[0].sid, max(as[0].before, b.before)})
			as = as[1:]
		case c > 0:
			list = append(list, exception{bs[0].sid, max(bs[0].before, a.before)})
			bs = bs[1:]
		default:
			list = append(list, exception{as[0].sid, max(as[0].before, bs[0].before)})
			as, bs = as[1:], bs[1:]
		}
	}
	// A sid whose cutoff has reached that of everybody else is spared nothing: find
	// would answer the same without it, and so would later sums.
	all := max(a.before, b.before)
	list = slices.DeleteFunc(list, func(e exception) bool { return e.before >= all })
	if len(list) == 0 {
		return nil
	}
	return &exceptions{list: list}
}

// revokes reports whether an entry with that cutoff and those exceptions revokes
// a token issued at iat in the session sid; hasSid is false for a token without one.
func revokes(before int64, keep *exceptions, iat int64, sid digest, hasSid bool) bool {
	if before == forever {
		return true
	}
	if hasSid {
		before = keep.find(sid, before)
	}
	return iat <= before
}
