package browser_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// A brokenStore fails as a test says.
type brokenStore struct {
	refresh.Store
	broken atomic.Bool // answers nothing
	lose   atomic.Bool // loses the answer to the next write of a bound session, and is broken from then on
	refuse atomic.Bool // takes no session that is bound
}

var errBroken = errors.New("the store is broken")

func (s *brokenStore) Load(ctx context.Context, key string) (refresh.Record, error) {
	if s.broken.Load() {
		return refresh.Record{}, errBroken
	}
	return s.Store.Load(ctx, key)
}

func (s *brokenStore) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if s.broken.Load() || s.refuse.Load() && bytes.Contains(value, []byte(`"bound_key"`)) {
		return 0, errBroken
	}
	n, err := s.Store.Save(ctx, key, value, revision, expires)
	if s.lose.Load() && bytes.Contains(value, []byte(`"bound_key"`)) {
		s.broken.Store(true)
		return 0, errBroken
	}
	return n, err
}
