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
// is new. It holds hashes, and when it is full it forgets one of them: the one fetch
// per MinInterval for whatever unknown kid bounds the rest. Guarded by
// RemoteKeySet.mu.
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
type wanted uint64

func newMisses() misses {
	return misses{seed: maphash.MakeSeed(), seen: make(map[uint64]miss)}
}

func (m *misses) hash(kid string, alg Algorithm) wanted {
	return wanted(maphash.Comparable(m.seed, struct {
		kid string
		alg Algorithm
	}{kid, alg}))
}

// rests reports whether it is too early to fetch for w again.
func (m *misses) rests(w wanted, now revoke.Instant) bool {
	last, ok := m.seen[uint64(w)]
	return ok && now.Since(last.at) < last.again
}

// add records that a fetch did not bring w, which rests first at least, then twice
// as long each time, up to most.
func (m *misses) add(w wanted, now revoke.Instant, first, most time.Duration) {
	again := first
	last, ok := m.seen[uint64(w)]
	switch {
	case ok && now.Since(last.at) < last.again: // somebody else waited for the same fetch
		return
	case ok && now.Since(last.at) < 2*most:
		again = min(2*last.again, most)
	case !ok && len(m.seen) >= maxMisses:
		for old := range m.seen {
			delete(m.seen, old)
			break
		}
	}
	m.seen[uint64(w)] = miss{now, again}
}
