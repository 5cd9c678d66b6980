package token

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"
	"unsafe"
)

// replayShards is into how many parts the memory of used proofs is divided, by
// the sender's key.
const replayShards = 16

// replaySenders is how many groups of senders a shard tells apart, in order to see who
// takes more than his share.
const replaySenders = 256

// A replayCache remembers which proofs were used. It never forgets one that could be
// accepted again: see floor.
type replayCache struct {
	keep   time.Duration // for at least this long
	limit  int           // of one shard
	seed   maphash.Seed  // so that nobody can choose a key that shares a victim's room
	shards [replayShards]paddedShard
}

// A paddedShard shares no cache line with the next: who locks one keeps no other processor from
// another's.
type paddedShard struct {
	replayShard
	_ [128 - unsafe.Sizeof(replayShard{})%128]byte
}

// A replayShard holds two generations. The young one takes new entries until it is
// as old as entries must be kept; then it becomes the old one, and what was the old
// one is dropped.
type replayShard struct {
	mu         sync.Mutex
	young, old replayGeneration
	// floor is the latest creation among what was dropped, in milliseconds. Anything
	// created up to then may have been used before, whatever the clocks did since.
	floor int64
}

type replayGeneration struct {
	began  time.Time
	used   map[replayKey]struct{}
	by     *[replaySenders]uint32 // how many of them are whose
	newest int64                  // the latest creation in it, in milliseconds
}

// A replayKey is 128 bits of a hash: who finds two proofs of his own with one key
// has only locked himself out.
type replayKey [16]byte

func newReplayCache(keep time.Duration, limit int) *replayCache {
	c := &replayCache{keep: keep, limit: limit / replayShards, seed: maphash.MakeSeed()}
	for i := range c.shards {
		s := &c.shards[i].replayShard
		s.floor = math.MinInt64
		s.old, s.young = newGeneration(time.Time{}), newGeneration(time.Time{})
	}
	return c
}

// A proofUse is a proof that passed every check but the last, that it is new.
type proofUse struct {
	cache    *replayCache
	jkt      string
	jti, uri string
	created  int64 // when the proof was made, in milliseconds
}

// record uses the proof up. Of any number of concurrent calls for one proof one
// succeeds. Call it last, so that only senders of good tokens fill the cache.
func (u *proofUse) record(now time.Time) error {
	if u == nil {
		return nil
	}
	h := sha256.New()
	for _, s := range []string{u.jkt, u.uri, u.jti} { // jti is unique per URI (RFC 9449 section 11.1)
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	sender := maphash.String(u.cache.seed, u.jkt)
	return u.cache.record(&u.cache.shards[sender%replayShards].replayShard, sender>>32%replaySenders, replayKey(sum[:16]), u.created, now)
}

func (c *replayCache) record(s *replayShard, sender uint64, k replayKey, created int64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch age := now.Sub(s.young.began); {
	case age >= 2*c.keep:
		s.drop(s.old)
		s.drop(s.young)
		s.old, s.young = newGeneration(now), newGeneration(now)
	case age >= c.keep:
		s.drop(s.old)
		s.old, s.young = s.young, newGeneration(now)
	}
	if created <= s.floor {
		// Out of a proof's time but for a clock that was set back.
		return fmt.Errorf("token: %w: the clock was set back, and which DPoP proofs were used by then is forgotten", ErrUnavailable)
	}
	if s.young.has(k) || s.old.has(k) {
		return fmt.Errorf("token: %w", errReplayed)
	}
	// Half of the room is for the first to come. In the other half nobody has more than
	// an eighth, so that one sender takes it from none.
	switch n := len(s.young.used) + len(s.old.used); {
	case n >= c.limit, n >= c.limit/2 && int(s.young.by[sender]+s.old.by[sender]) >= c.limit/8:
		return fmt.Errorf("token: %w", errReplayCacheFull)
	}
	s.young.used[k] = struct{}{}
	s.young.by[sender]++
	s.young.newest = max(s.young.newest, created)
	return nil
}

func (s *replayShard) drop(g replayGeneration) {
	if len(g.used) > 0 {
		s.floor = max(s.floor, g.newest)
	}
}

func newGeneration(now time.Time) replayGeneration {
	return replayGeneration{now, make(map[replayKey]struct{}), new([replaySenders]uint32), math.MinInt64}
}

func (g *replayGeneration) has(k replayKey) bool {
	_, ok := g.used[k]
	return ok
}
