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
	return refresh.StoreFill{At: r.seen, Bytes: r.bytes + r.written, NewLimit: r.newLimit(), MaxBytes: r.max}
}

// newLimit is how full the bucket may be for a new record that expires: there remains a tenth,
// and what the records that there are may grow by.
func (r *room) newLimit() int64 {
	return max(0, (r.max-lasting(r.max))/10*9-(r.records+r.added)*growth)
}
