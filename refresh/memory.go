package refresh

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// A MemoryStore keeps records in memory: for tests, and for a single process whose
// users may be logged out by its restart. Its methods may be called concurrently.
type MemoryStore struct {
	mu       sync.Mutex
	records  map[string]memoryRecord // guarded by mu
	revision uint64                  // guarded by mu: of the newest write, whatever its key
	sweep    int                     // guarded by mu: writes until expired records are looked for
	now      func() time.Time
}

type memoryRecord struct {
	value    []byte
	revision uint64
	expires  time.Time
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{records: map[string]memoryRecord{}, now: time.Now}
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
	if err := CheckRecord(key, value); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.live(key); ok && r.revision != revision || !ok && revision != 0 {
		return 0, ErrConflict
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

// live returns the record under key and forgets it if it has expired. The caller holds
// mu.
func (s *MemoryStore) live(key string) (memoryRecord, bool) {
	r, ok := s.records[key]
	if ok && s.now().After(r.expires) {
		delete(s.records, key)
		return memoryRecord{}, false
	}
	return r, ok
}
