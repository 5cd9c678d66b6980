package natskv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	roomInterval = 10 * time.Second // between two readings of how full the bucket is
	roomRecheck  = time.Second      // the same, while it is too full
)

// A room knows how full the bucket is. New records leave a tenth of it free, so that the
// sessions that there are can be refreshed and ended when logins have used up the rest.
type room struct {
	mu      sync.Mutex
	at      time.Time // guarded by mu: of the last reading
	max     int64     // guarded by mu: MaxBytes then
	bytes   int64     // guarded by mu: used then
	written int64     // guarded by mu: by new records of this Store since
}

func (r *room) note(info *jetstream.StreamInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.max, r.bytes, r.written = time.Now(), info.Config.MaxBytes, int64(info.State.Bytes), 0
}

func (r *room) full() bool { return r.bytes+r.written > r.max/10*9 }

// take takes room for a new record. due says that the bucket has to be looked at.
func (r *room) take(size int) (due, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += int64(size)
	every := roomInterval
	if r.full() {
		every = roomRecheck
	}
	if due = time.Since(r.at) > every || r.written > r.max/100; due {
		r.at = time.Now() // others need not look
	}
	return due, !r.full()
}

// hasRoom refuses a new record that would take the last tenth of the bucket. It does not
// fail where it cannot tell.
func (s *Store) hasRoom(ctx context.Context, size int) error {
	due, ok := s.room.take(size)
	if due {
		var stream jetstream.Stream
		if err := attempt(ctx, s.js.Conn(), func(ctx context.Context) (err error) {
			stream, err = s.js.Stream(ctx, streamName(s.bucket))
			return err
		}); err == nil {
			s.room.note(stream.CachedInfo())
			_, ok = s.room.take(size)
		}
	}
	if !ok {
		return fmt.Errorf("%w for new records: the last tenth is kept for those that there are", ErrFull)
	}
	return nil
}
