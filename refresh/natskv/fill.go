package natskv

import "github.com/hybridtoken/hybridtoken/refresh"

var _ interface{ Fill() refresh.StoreFill } = (*Store)(nil)

// Fill returns how full the bucket is, by what [Store.Save] goes by when it refuses new
// records: what the server said when it was asked last, as it is about every ten seconds while
// the Store is used, and what new records took since. It asks nobody itself.
// [refresh.Manager.Status] shows it.
func (s *Store) Fill() refresh.StoreFill {
	r := &s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	return refresh.StoreFill{At: r.seen, Bytes: r.bytes + r.written, NewLimit: newLimit(r.max), MaxBytes: r.max}
}

// newLimit is what new records that expire leave free of the rest: a tenth.
func newLimit(maxBytes int64) int64 { return (maxBytes - lasting(maxBytes)) / 10 * 9 }
