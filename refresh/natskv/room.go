package natskv

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/refresh"
)

const (
	roomInterval = 10 * time.Second // between two readings of how full the bucket is
	roomRecheck  = time.Second      // the same, while it is too full

	// growth is kept for each record that there is, in bytes: a session's grows by some 300
	// at its first refresh, and by 200 at each other while the window of the one before is open.
	growth = 384
)

// A room knows how full the bucket is. Records that never expire, which are keyrings, have a
// share of their own: what expires leaves it free, or a bucket full of sessions would stop
// the rotation of keys. Of the rest, new records leave a tenth free, for what others
// write meanwhile, and what the records that there are grow by, so that their sessions can be
// refreshed and ended when logins have used it up.
type room struct {
	mu      sync.Mutex
	at      time.Time // guarded by mu: when the last reading was begun
	seen    time.Time // guarded by mu: when the last that succeeded was
	max     int64     // guarded by mu: MaxBytes then
	bytes   int64     // guarded by mu: used then
	records int64     // guarded by mu: how many there were then
	written int64     // guarded by mu: by this Store since
	added   int64     // guarded by mu: the same, records

	judged time.Time // guarded by mu: when the settings were last read
	unsafe []string  // guarded by mu: what is wrong with them
}

func (r *room) note(info *jetstream.StreamInfo, unsafe []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judged, r.unsafe = time.Now(), unsafe
	r.at, r.seen, r.max, r.bytes, r.written = r.judged, r.judged, info.Config.MaxBytes, int64(info.State.Bytes), 0
	r.records, r.added = int64(info.State.Msgs), 0
}

// lasting is the share of records that never expire: 2 %, and at least one record.
func lasting(maxBytes int64) int64 { return max(maxBytes/50, maxMessageBytes) }

// newLimit is how full the bucket may be for a new record that expires: there remains a tenth,
// and what the records that there are may grow by.
func (r *room) newLimit() int64 {
	return max(0, (r.max-lasting(r.max))/10*9-(r.records+r.added)*growth)
}

// take takes room for a record that expires, which is new or not. due says that the bucket
// has to be looked at.
func (r *room) take(size int, isNew bool) (due, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.max - lasting(r.max)
	if isNew {
		limit = r.newLimit()
	}
	full := r.bytes+r.written+int64(size) > limit
	every := roomInterval
	switch {
	case full:
		every = roomRecheck
	case isNew:
		r.added++
		fallthrough
	default:
		r.written += int64(size) // until the next look as if what it replaces were there still
	}
	if due = time.Since(r.at) > every || r.written > r.max/100; due {
		r.at = time.Now() // others need not look
	}
	return due, !full
}

// look reads the bucket's settings and how full it is.
func (s *Store) look(ctx context.Context) error {
	var stream jetstream.Stream
	err := attempt(ctx, s.js.Conn(), func(ctx context.Context) (err error) {
		stream, err = s.js.Stream(ctx, streamName(s.bucket))
		return err
	})
	if err == nil {
		info := stream.CachedInfo()
		s.room.note(info, hazards(info.Config, s.bucket))
	}
	return err
}

// safe refuses to rely on a bucket that was changed, since it was opened, so that it would
// forget or resurrect. The settings are read every ten seconds while somebody asks, and
// every second while they are wrong; where there is no answer, the last one counts.
func (s *Store) safe(ctx context.Context) error {
	r := &s.room
	r.mu.Lock()
	every := roomInterval
	if len(r.unsafe) > 0 {
		every = roomRecheck
	}
	due := time.Since(r.judged) > every
	if due {
		r.judged = time.Now() // others need not look
	}
	r.mu.Unlock()
	if due {
		_ = s.look(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unsafe) > 0 {
		return fmt.Errorf("%w: %s", errBucketUnsafe, strings.Join(r.unsafe, "; "))
	}
	return nil
}

// hasRoom refuses a record that expires where it would take what is kept for others, but none
// that shrinks, as that of a session does that ends. Where the bucket does not say how full it
// is, its last answer counts; where it does not say how large the record was, the server decides.
func (s *Store) hasRoom(ctx context.Context, key string, size int, revision uint64) error {
	isNew := revision == 0
	due, ok := s.room.take(size, isNew)
	if due && s.look(ctx) == nil {
		_, ok = s.room.take(size, isNew)
	}
	switch {
	case ok:
		return nil
	case isNew:
		return fmt.Errorf("%w for new records: the rest is kept for those that there are", ErrFull)
	}
	if e, err := s.get(ctx, s.prefix+key); err != nil || e.seq != revision || size <= len(e.data) {
		return nil // where it is a conflict, the server says so
	}
	return fmt.Errorf("%w for records that expire: the rest is kept for keyrings", ErrFull)
}

var _ interface{ Fill() refresh.StoreFill } = (*Store)(nil)

// Fill returns how full the bucket is, by what [Store.Save] goes by when it refuses new
// records: what the server said when it was asked last, as it is about every ten seconds while
// the Store is used, and what new records took since. It asks nobody itself.
// [refresh.Manager.Status] shows it.
func (s *Store) Fill() refresh.StoreFill {
	r := &s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	return refresh.StoreFill{At: r.seen, Bytes: r.bytes + r.written, NewLimit: r.newLimit(), MaxBytes: r.max}
}
