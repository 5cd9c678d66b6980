package natskv

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	roomInterval = 10 * time.Second // between two readings of how full the bucket is
	roomRecheck  = time.Second      // the same, while it is too full
)

// A room knows how full the bucket is. Records that never expire, which are keyrings, have a
// share of their own: what expires leaves it free, or a bucket full of sessions would stop
// the rotation of keys. Of the rest, new records leave a tenth free, so that the sessions
// that there are can be refreshed and ended when logins have used it up.
type room struct {
	mu      sync.Mutex
	at      time.Time // guarded by mu: when the last reading was begun
	seen    time.Time // guarded by mu: when the last that succeeded was
	max     int64     // guarded by mu: MaxBytes then
	bytes   int64     // guarded by mu: used then
	written int64     // guarded by mu: by this Store since

	judged time.Time // guarded by mu: when the settings were last read
	unsafe []string  // guarded by mu: what is wrong with them
}

func (r *room) note(info *jetstream.StreamInfo, unsafe []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judged, r.unsafe = time.Now(), unsafe
	r.at, r.seen, r.max, r.bytes, r.written = r.judged, r.judged, info.Config.MaxBytes, int64(info.State.Bytes), 0
}

// lasting is the share of records that never expire: 2 %, and at least one record.
func lasting(maxBytes int64) int64 { return max(maxBytes/50, maxMessageBytes) }

// take takes room for a record that expires, which is new or not. due says that the bucket
// has to be looked at.
func (r *room) take(size int, isNew bool) (due, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.max - lasting(r.max)
	if isNew || r.bytes > limit/4*3 { // what replaces another counts where it matters
		r.written += int64(size)
	}
	if isNew {
		limit = newLimit(r.max)
	}
	full := r.bytes+r.written > limit
	every := roomInterval
	if full {
		every = roomRecheck
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
		return fmt.Errorf("%w: %s", ErrBucketUnsafe, strings.Join(r.unsafe, "; "))
	}
	return nil
}

// hasRoom refuses a record that expires where it would take what is kept for others. It
// does not fail where it cannot tell.
func (s *Store) hasRoom(ctx context.Context, size int, isNew bool) error {
	due, ok := s.room.take(size, isNew)
	if due && s.look(ctx) == nil {
		_, ok = s.room.take(size, isNew)
	}
	switch {
	case ok:
		return nil
	case isNew:
		return fmt.Errorf("%w for new records: the last tenth is kept for those that there are", ErrFull)
	}
	return fmt.Errorf("%w for records that expire: the rest is kept for keyrings", ErrFull)
}
