package token

import (
	"hash/maphash"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	maxMisses = 256 // of which anything is remembered
	maxRests  = 8   // times MinInterval: what was asked for in vain may exist by then
)

// misses remembers the keys that a fetch was to bring and did not, so that a client
// with a stale kid neither makes us fetch for ever nor takes the turn of a kid that
// is new. It holds hashes, and when it is full it forgets one of them: the one fetch per
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
	kid     string
	alg     Algorithm
	hash    uint64
	instead bool // of one that is at hand and did not sign a token: of such nothing is remembered
}

func newMisses() misses {
	return misses{seed: maphash.MakeSeed(), seen: make(map[uint64]miss)}
}

func (m *misses) hash(kid string, alg Algorithm) wanted {
	w := wanted{kid: kid, alg: alg}
	w.hash = maphash.Comparable(m.seed, w)
	return w
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

// remember notes that the fetch of next was to bring want and did not. s.mu is held.
func (s *RemoteKeySet) remember(want *wanted, next *remoteKeys) {
	if want != nil && !want.instead && next.find(want.kid, want.alg) == nil {
		s.missing.add(*want, revoke.Now(), s.cfg.MinInterval, min(s.cfg.RefreshInterval, maxRests*s.cfg.MinInterval))
	}
}
