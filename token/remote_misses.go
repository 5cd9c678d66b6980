package token

import (
	"hash/maphash"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// maxMisses bounds what is remembered of keys that were asked for in vain.
const maxMisses = 256

// misses remembers the keys that a fetch was to bring and did not, so that a client
// with a stale kid neither makes us fetch for ever nor takes the turn of a kid that
// is new, and so that an unknown key is told from one that nobody has looked for yet.
// It holds hashes, and when it is full it forgets one of them: the one fetch per
// MinInterval for whatever unknown kid bounds the rest. Guarded by RemoteKeySet.mu.
type misses struct {
	seed maphash.Seed
	seen map[uint64]miss
}

// A miss is worth another fetch after a time that doubles.
type miss struct {
	at    revoke.Instant
	again time.Duration
}

// A wanted key is one that a look-up did not find.
type wanted struct {
	kid  string
	alg  Algorithm
	hash uint64
}

func newMisses() misses {
	return misses{seed: maphash.MakeSeed(), seen: make(map[uint64]miss)}
}

func (m *misses) hash(kid string, alg Algorithm) wanted {
	w := wanted{kid: kid, alg: alg}
	w.hash = maphash.Comparable(m.seed, w)
	return w
}

// confirmed reports whether a fetch has shown since w was first wanted that there is
// none.
func (m *misses) confirmed(w wanted) bool {
	_, ok := m.seen[w.hash]
	return ok
}

// rests reports whether it is too early to fetch for w again.
func (m *misses) rests(w wanted, now revoke.Instant) bool {
	last, ok := m.seen[w.hash]
	return ok && now.Since(last.at) < last.again
}

// add records that a fetch did not bring w, which rests first at least, then twice
// as long each time, up to most.
func (m *misses) add(w wanted, now revoke.Instant, first, most time.Duration) {
	again := first
	last, ok := m.seen[w.hash]
	switch {
	case ok && now.Since(last.at) < last.again: // somebody else waited for the same fetch
		return
	case ok && now.Since(last.at) < 2*most:
		again = min(max(first, 2*last.again), most)
	case !ok && len(m.seen) >= maxMisses:
		for old := range m.seen {
			delete(m.seen, old)
			break
		}
	}
	m.seen[w.hash] = miss{now, again}
}

// confirmed reports whether a fetch was made for that key and did not bring it.
func (s *RemoteKeySet) confirmed(w wanted) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing.confirmed(w)
}

// remember notes what the fetch of next has shown not to exist: want, and what it
// withdrew. The latter does not rest, as servers that disagree for a while take keys
// away and bring them back. s.mu is held.
func (s *RemoteKeySet) remember(want *wanted, old, next *remoteKeys) {
	now := revoke.Now()
	if want != nil && next.find(want.kid, want.alg) == nil {
		s.missing.add(*want, now, s.cfg.MinInterval, s.cfg.RefreshInterval)
	}
	if old == nil || old.keys == next.keys {
		return
	}
	for key := range old.keys.all {
		if next.find(key.id, key.alg) == nil {
			s.missing.add(s.missing.hash(key.id, key.alg), now, 0, s.cfg.RefreshInterval)
		}
	}
}
