package recordstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A MemoryStore keeps records in memory: for tests, and for a single process whose
// users may be logged out by its restart. Its methods may be called concurrently. The
// zero value is empty and ready.
type MemoryStore struct {
	mu       sync.Mutex
	records  map[string]memoryRecord // guarded by mu
	revision uint64                  // guarded by mu: of the newest write, whatever its key
	sweep    int                     // guarded by mu: writes until expired records are looked for
	now      func() revoke.Instant   // of tests; nil means revoke.Now
	// ahead is the least that the wall clock was seen ahead of the monotonic one, in
	// nanoseconds, once it was read; guarded by mu.
	ahead int64
	read  bool // guarded by mu
}

type memoryRecord struct {
	value    []byte
	revision uint64
	expires  time.Time
}

// Load implements [Store].
func (s *MemoryStore) Load(ctx context.Context, key string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.live(key)
	if !ok {
		return Record{}, ErrNotFound
	}
	return Record{bytes.Clone(r.value), r.revision}, nil
}

// Save implements [Store].
func (s *MemoryStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := Check(key, value); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.live(key); ok && r.revision != revision || !ok && revision != 0 {
		return 0, ErrConflict
	}
	if s.records == nil {
		s.records = map[string]memoryRecord{}
	}
	s.revision++
	s.records[key] = memoryRecord{bytes.Clone(value), s.revision, expires}
	if s.sweep--; s.sweep < 0 {
		// Every record is looked at once in as many writes as there are records.
		for k := range s.records {
			s.live(k)
		}
		s.sweep = len(s.records)
	}
	return s.revision, nil
}

// time is what records expire by: the slower of the two clocks, as in a List that no bus
// feeds. What is forgotten is forgotten for good, the cutoff of a subject and the end of a
// session too, so that one reading of a wall clock that is ahead must not do it. The
// caller holds mu.
func (s *MemoryStore) time() time.Time {
	clock := s.now
	if clock == nil {
		clock = revoke.Now
	}
	now := clock()
	if ahead := now.Wall - now.Mono; !s.read || ahead < s.ahead {
		s.ahead, s.read = ahead, true
	}
	return time.Unix(0, min(now.Wall, now.Mono+s.ahead))
}

// live returns the record under key and forgets it if it has expired. The caller holds
// mu.
func (s *MemoryStore) live(key string) (memoryRecord, bool) {
	r, ok := s.records[key]
	if ok && s.time().After(r.expires) {
		delete(s.records, key)
		return memoryRecord{}, false
	}
	return r, ok
}
