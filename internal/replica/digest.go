package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// A Digest says what a log holds up to one of its heartbeats, in a form that every
// reader of the same log finds alike, whenever it began to read: the sum, modulo 2²⁵⁶
// and little-endian, of the SHA-256 hashes of the messages that live on for some minutes,
// and how many they are.
//
// It tells two logs apart that give their messages the same numbers, as a log that was
// made anew or restored and a mirror of the one before do. It is no proof against a
// party that chooses the messages of both.
type Digest struct {
	Sequence uint64   // of the heartbeat, the last message that counts
	Count    uint64   // of the messages summed
	Sum      [32]byte // of their hashes
}

const (
	// coverage is how much longer than the heartbeat at which a Digest is taken a
	// message must live to count. Replicas keep an entry until 12 minutes after its
	// Until and messages live until 15 minutes after it, so that a message counts for
	// as long as any verifier needs it.
	coverage = 2 * time.Minute

	// wholeWithin is how late after its timestamp a heartbeat may be delivered for the
	// digest at it to be whole. What counts at it had not expired then, by a margin for
	// servers whose clocks differ; later, some of it may have.
	wholeWithin = coverage / 2

	// forgetAfter is how long a group is kept beyond its end, for a log server whose
	// clock is set back.
	forgetAfter = 24 * time.Hour

	unexpiring = math.MaxInt64 // the group of messages that do not expire
)

// DigestGrain returns how much earlier than it expires a message may stop to count in a
// [Digest]: messages are counted in groups, by the minute, the hour or the day in which
// they expire, according to their life. A publisher lets a message live longer by it.
func DigestGrain(life time.Duration) time.Duration {
	switch {
	case life <= 3*time.Hour:
		return time.Minute
	case life <= 3*24*time.Hour:
		return time.Hour
	}
	return 24 * time.Hour
}

// maxLife bounds the groups: a message that lives longer is in the group of those that
// never expire.
const maxLife = 11 * 366 * 24 * time.Hour

// groupOf returns the group of a message, as the unix second at which it begins.
func groupOf(at time.Time, life time.Duration) int64 {
	if life <= 0 || life > maxLife {
		return unexpiring
	}
	grain := int64(DigestGrain(life) / time.Second)
	end := at.Add(life.Truncate(time.Second)).Unix()
	return end - (end%grain+grain)%grain
}

// countsFrom returns the first group that counts at a heartbeat of that timestamp.
func countsFrom(at time.Time) int64 {
	t := at.Add(coverage).Unix()
	return t - (t%60+60)%60 + 60
}

// A sum is a number modulo 2²⁵⁶, least significant word first, and a count.
type sum struct {
	words [4]uint64
	count uint64
}

func (s *sum) add(o *sum) {
	var carry uint64
	for i := range s.words {
		s.words[i], carry = bits.Add64(s.words[i], o.words[i], carry)
	}
	s.count += o.count
}

// A LogDigest accumulates the [Digest] of a log that is read in order, from its start.
// The zero LogDigest is that of an empty log. It is not for concurrent use.
type LogDigest struct {
	groups map[int64]*sum // by when they begin
	last   *sum           // the group used last
	lastAt int64

	from  int64 // the first group in total
	total sum

	buf []byte
}

// Add counts a message. Each message of the log must be added, in order, but for those
// that have expired.
func (d *LogDigest) Add(r *Record) {
	if d.groups == nil {
		d.groups = make(map[int64]*sum)
	}
	b := d.buf[:0]
	b = binary.BigEndian.AppendUint64(b, r.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Subject)))
	b = append(b, r.Subject...)
	b = append(b, r.Data...)
	d.buf = b
	h := sha256.Sum256(b)
	one := sum{count: 1}
	for i := range one.words {
		one.words[i] = binary.LittleEndian.Uint64(h[8*i:])
	}
	at := groupOf(r.Time, r.Life)
	if d.last == nil || d.lastAt != at {
		g := d.groups[at]
		if g == nil {
			g = new(sum)
			d.groups[at] = g
		}
		d.last, d.lastAt = g, at
	}
	d.last.add(&one)
	if at >= d.from {
		d.total.add(&one)
	}
}

// At returns the digest at r, a heartbeat, which must be the message added last.
func (d *LogDigest) At(r *Record) Digest {
	if from := countsFrom(r.Time); from != d.from {
		d.from, d.total = from, sum{}
		forget := from - int64(forgetAfter/time.Second)
		for at, g := range d.groups {
			switch {
			case at >= from:
				d.total.add(g)
			case at < forget:
				delete(d.groups, at)
				if at == d.lastAt {
					d.last = nil
				}
			}
		}
	}
	digest := Digest{Sequence: r.Sequence, Count: d.total.count}
	for i, w := range d.total.words {
		binary.LittleEndian.PutUint64(digest.Sum[8*i:], w)
	}
	return digest
}

// Whole reports whether the digest at r is whole for a reader to whom it is delivered
// now, by the log server's clock: it then holds all that counts in the log.
func (d *LogDigest) Whole(r *Record, now time.Time) bool { return now.Sub(r.Time) <= wholeWithin }
