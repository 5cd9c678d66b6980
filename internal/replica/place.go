package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/snapshot"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// digestAlgorithm is that of the sums in a [Digest].
const digestAlgorithm = 1

// A place is the record at which a replica goes on that has not read what stands before it.
type place struct {
	hash [32]byte // of the record; zero: the Feed has read what it has applied
	new  bool     // no subscription has begun there yet
}

// Place returns where the Feed is: at the record applied last, which a snapshot taken from now
// on names as its anchor, and with the sums by which another goes on. Of the log's name and
// age it says nothing. There is no place while no subscription is open, or while what was
// read is disputed.
func (f *Feed) Place() (snapshot.Log, bool) {
	f.Flush() // what it stands behind is in the List
	if !f.open || !f.has || f.anchoring || f.fork.differs {
		return snapshot.Log{}, false
	}
	c := &f.cursor
	a := snapshot.Anchor{Sequence: c.Sequence, Time: c.Time, Hash: snapshot.AnchorHash(c.Sequence, c.Time, c.Subject, c.Data)}
	if c.Life > 0 {
		a.Expires = c.Time.Add(c.Life).Truncate(time.Second)
	}
	groups := f.fork.digest.groups
	log := snapshot.Log{
		Sequence: c.Sequence, Anchors: []snapshot.Anchor{a},
		Digest: snapshot.Digest{Algorithm: digestAlgorithm, Groups: make([]snapshot.Group, 0, len(groups))},
	}
	for _, at := range slices.Sorted(maps.Keys(groups)) {
		g := snapshot.Group{Begin: at, Count: groups[at].count}
		for i, w := range groups[at].words {
			binary.LittleEndian.PutUint64(g.Sum[8*i:], w)
		}
		log.Digest.Groups = append(log.Digest.Groups, g)
	}
	return log, true
}

// Retention is the longest that the log's metadata has named.
func (f *Feed) Retention() revoke.Retention { return f.bounds() }

// Resume has the next subscription go on at the place of a snapshot, whose entries the List
// holds. It fails once anything was read. Nothing is proven by it: the subscription begins
// with the anchor, or ends with [ErrAnchor], and freshness takes a heartbeat that is sent
// after the subscription began.
func (f *Feed) Resume(log *snapshot.Log) error {
	switch {
	case f.has || f.open || f.closed:
		return errors.New("revoke: resume: something was read already")
	case log.Sequence == 0 || len(log.Anchors) == 0 || log.Anchors[0].Sequence != log.Sequence:
		return errors.New("revoke: resume: no place in a log")
	case log.Digest.Algorithm != digestAlgorithm:
		return fmt.Errorf("revoke: resume: digests of algorithm %d, this program knows %d", log.Digest.Algorithm, digestAlgorithm)
	}
	var d LogDigest
	d.groups = make(map[int64]*sum, len(log.Digest.Groups))
	for _, g := range log.Digest.Groups {
		s := &sum{count: g.Count}
		for i := range s.words {
			s.words[i] = binary.LittleEndian.Uint64(g.Sum[8*i:])
		}
		d.groups[g.Begin] = s
	}
	a := &log.Anchors[0]
	f.cursor, f.has, f.attempts = Record{Sequence: a.Sequence, Time: a.Time}, true, 0
	f.place = place{hash: a.Hash, new: true}
	f.fork.digest, f.fork.marks, f.fork.whole, f.fork.differs = d, nil, false, false
	return nil
}

// resumes takes note that an anchored subscription begins. At the first one after Resume
// only heartbeats sent from now on prove anything.
func (f *Feed) resumes(now revoke.Instant) {
	if f.place.new {
		f.place.new, f.provenFrom = false, now
	}
}

// isCursor reports whether r is the record applied last, or the one of the place at which the
// Feed goes on.
func (f *Feed) isCursor(r *Record) bool {
	if f.place.hash == [32]byte{} {
		return r.same(&f.cursor)
	}
	if r.Sequence != f.cursor.Sequence || snapshot.AnchorHash(r.Sequence, r.Time, r.Subject, r.Data) != f.place.hash {
		return false
	}
	f.cursor, f.place = *r, place{}
	return true
}
