package snapshot

import (
	"crypto/sha256"
	"time"
)

// Version is that of the format.
const Version = 1

// Bounds of a manifest and of what it may declare. Nothing is allocated for more.
const (
	MaxTables  = 4       // keys of identities
	MaxAnchors = 16      // places at which a reader may begin
	MaxMarks   = 64      // digests at heartbeats
	MaxGroups  = 8192    // of the digest that goes on
	MaxIssuers = 1024    // that a snapshot is limited to
	MaxPart    = 1 << 30 // bytes of a part
	MaxSpared  = 64      // exceptions of an entry: the sessions that one event may keep
	maxBody    = 1 << 20 // bytes of a manifest
	maxStream  = 255     // bytes of a stream's name
	maxEntries = 1 << 26 // of one run
)

// Kinds is one more than the largest kind; arrays indexed by a kind, or by a run, have
// this length.
const Kinds = 8

// Spared is the run of the entries of kind subject that spare sessions. The other runs have
// their kind's number, from 1 to 7.
const Spared = 0

// Cutoff reports whether entries of the run have a cutoff.
func Cutoff(run int) bool { return run == Spared || run >= 3 && run != 6 }

// A Manifest describes a snapshot. It is signed as a whole; what it says of a part binds
// that.
type Manifest struct {
	Written time.Time // by the writer's clock, to the millisecond
	Newest  time.Time // the newest timestamp of the log that the writer had heard, which it has rounded up to the millisecond; zero: none

	// What every party must agree on, as the writer knew it, in whole milliseconds.
	TokenLifetime, SessionLifetime, MaxSkew time.Duration

	Log     Log // zero: it was taken at no place of a log
	Tables  []Table
	Entries Part
	Filter  Part // zero: there is none

	Signer KeyID // as read; zero: it is not signed
	sum    [sha256.Size]byte
}

// A Log says of which log a snapshot is, and at which place it was taken.
type Log struct {
	Stream   string    // its name
	Created  time.Time // as its server says
	Sequence uint64    // every message up to this one is in the snapshot, none after it
	Anchors  []Anchor  // messages at or before Sequence, newest first: one of them must be met
	Issuers  [][16]byte
	Digest   Digest
}

// An Anchor is a message of the log that its writer has applied. A reader begins at one
// that has not expired, and must find it there.
type Anchor struct {
	Sequence uint64
	Time     time.Time // the server's timestamp
	Expires  time.Time // to the second, rounded down; zero: never
	Hash     [32]byte  // see [AnchorHash]
}

// A Digest is what a replica holds of a log in sums, so that a reader goes on with them.
type Digest struct {
	Algorithm uint16  // zero: there is none
	Marks     []Mark  // at the heartbeats applied last, oldest first
	Groups    []Group // by when they begin
}

// A Mark is the digest at a heartbeat.
type Mark struct {
	Sequence, Count uint64
	Sum             [32]byte
}

// A Group is the sum of the messages that expire within one span of time.
type Group struct {
	Begin int64
	Count uint64
	Sum   [32]byte
}

// A Table tells of the entries whose identities were made with one key.
type Table struct {
	Key    [16]byte      // of SipHash-2-4
	Known  [16]byte      // the digest of a known identity under it: tells identities that are made otherwise
	Runs   [Kinds]uint64 // how many entries each has
	Spared uint64        // sessions, of all entries of that run
	Blocks [Kinds]uint32 // of 64 bytes, that the filter of each kind has; zero: none
}

// Entries is how many there are in all.
func (t *Table) Entries() (n uint64) {
	for _, c := range t.Runs {
		n += c
	}
	return n
}

// A Part is a stretch of bytes that is loaded for itself.
type Part struct {
	Size uint64
	Sum  [sha256.Size]byte // SHA-256
}

// bytesOf are the sizes of an entry, but for what it spares.
func bytesOf(run int) uint64 {
	switch {
	case run == Spared:
		return cutoffBytes + 1
	case Cutoff(run):
		return cutoffBytes
	}
	return plainBytes
}

const (
	idBytes     = 14 // an identity: eight of its high bits' and six of its low ones'
	plainBytes  = idBytes + 4
	cutoffBytes = plainBytes + 6
	sparedBytes = idBytes + 6
	blockBytes  = 64
)

// sizes are what the parts of such tables have.
func sizes(tables []Table) (entries, filter uint64) {
	for i := range tables {
		t := &tables[i]
		for run, n := range t.Runs {
			entries += n * bytesOf(run)
		}
		entries += t.Spared * sparedBytes
		for _, n := range t.Blocks {
			filter += uint64(n) * blockBytes
		}
	}
	return entries, filter
}

// check refuses what no writer writes.
func (m *Manifest) check() error {
	switch {
	case m.TokenLifetime < 0 || m.SessionLifetime < 0 || m.MaxSkew < 0:
		return Refuse(Impossible, "negative lifetime")
	case len(m.Tables) > MaxTables:
		return Refuse(OtherIdentities, "%d keys, more than %d", len(m.Tables), MaxTables)
	}
	for i := range m.Tables {
		t := &m.Tables[i]
		for run, n := range t.Runs {
			if n > maxEntries {
				return Refuse(Impossible, "%d entries in run %d of table %d, more than %d", n, run, i, maxEntries)
			}
		}
		if n := t.Runs[Spared]; t.Spared < n || t.Spared > MaxSpared*n {
			return Refuse(Impossible, "%d exceptions for %d entries of table %d", t.Spared, n, i)
		}
		if t.Blocks[0] != 0 {
			return Refuse(Impossible, "a filter of no kind in table %d", i)
		}
	}
	entries, filter := sizes(m.Tables)
	switch {
	case entries != m.Entries.Size:
		return Refuse(Impossible, "its entries take %d bytes, it says %d", entries, m.Entries.Size)
	case filter != m.Filter.Size:
		return Refuse(Impossible, "its filters take %d bytes, it says %d", filter, m.Filter.Size)
	case entries > MaxPart || filter > MaxPart:
		return Refuse(Impossible, "parts of %d and %d bytes, more than %d", entries, filter, MaxPart)
	}
	return m.Log.check()
}

func (l *Log) check() error {
	switch {
	case len(l.Stream) > maxStream:
		return Refuse(Impossible, "the name of its stream has %d bytes", len(l.Stream))
	case l.Sequence == 0 && (len(l.Anchors) > 0 || l.Digest.Algorithm != 0 || l.Stream != ""):
		return Refuse(Impossible, "a log without a place in it")
	case l.Sequence > 0 && (len(l.Anchors) == 0 || l.Anchors[0].Sequence != l.Sequence):
		return Refuse(Impossible, "no anchor at its place in the log")
	case len(l.Anchors) > MaxAnchors || len(l.Issuers) > MaxIssuers:
		return Refuse(Impossible, "%d anchors, %d issuers", len(l.Anchors), len(l.Issuers))
	case len(l.Digest.Marks) > MaxMarks || len(l.Digest.Groups) > MaxGroups:
		return Refuse(Impossible, "a digest of %d marks and %d groups", len(l.Digest.Marks), len(l.Digest.Groups))
	case l.Digest.Algorithm == 0 && len(l.Digest.Marks)+len(l.Digest.Groups) > 0:
		return Refuse(Impossible, "a digest without an algorithm")
	}
	for i := 1; i < len(l.Anchors); i++ {
		if l.Anchors[i].Sequence >= l.Anchors[i-1].Sequence {
			return Refuse(Impossible, "anchors out of order")
		}
	}
	for i, g := range l.Digest.Groups {
		if i > 0 && g.Begin <= l.Digest.Groups[i-1].Begin {
			return Refuse(Impossible, "groups out of order")
		}
	}
	for i, m := range l.Digest.Marks {
		if i > 0 && m.Sequence <= l.Digest.Marks[i-1].Sequence || m.Sequence > l.Sequence {
			return Refuse(Impossible, "marks out of order")
		}
	}
	return nil
}
