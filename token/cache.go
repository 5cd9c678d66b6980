package token

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/dchest/siphash"
	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// defaultCacheBytes holds some ten thousand tokens.
const defaultCacheBytes = 16 << 20

// minCacheBytes is room for the largest token that [VerifierConfig].MaxTokenBytes means
// by default, and some small ones: less would be no cache.
const minCacheBytes = 64 << 10

// A cache remembers tokens that were verified, so that the signature of a token that
// comes again is not checked again. It remembers nothing that changes: anyone who finds
// a token here judges its times, looks up its key and asks the denylist.
//
// A token is found by a keyed hash of 128 bits (SipHash) of its signature segment, and
// is the one remembered if all the rest is equal, byte for byte. So two tokens share an
// entry only if they differ in nothing but the signature and its hashes collide, under
// a key that nobody outside knows and no answer depends on: one chance in 2¹²⁸ a try.
// Anyone who gets that far holds a token that is good anyway, but for its signature. The
// signature itself is not kept, without which nobody can use what lies here in memory.
//
// Only tokens that passed every check enter, so that a flood of bad ones leaves no
// trace. Of good ones the policy of the library (W-TinyLFU) keeps what is used often.
type cache struct {
	limit  uint64 // in bytes
	k0, k1 uint64
	once   sync.Once
	tokens atomic.Pointer[otter.Cache[cacheKey, *verified]] // nil until a token enters
}

type cacheKey struct{ hi, lo uint64 }

// A verified is a token that was accepted. It is immutable.
type verified struct {
	signed   string // header and payload, as received
	claims   *Claims
	by       *acceptor
	key      *Key             // that verified it
	identity replica.Prepared // nil without a denylist
}

// newCache returns a cache of that many bytes, nil for none.
func newCache(limit int) *cache {
	if limit <= 0 {
		return nil
	}
	var seed [16]byte
	rand.Read(seed[:]) // never fails
	return &cache{limit: uint64(limit), k0: binary.LittleEndian.Uint64(seed[:8]), k1: binary.LittleEndian.Uint64(seed[8:])}
}

// find returns what is remembered of the token s, or nil.
func (c *cache) find(s segments) *verified {
	if c == nil {
		return nil
	}
	tokens := c.tokens.Load()
	if tokens == nil {
		return nil
	}
	known, ok := tokens.GetIfPresent(c.key(s.signature))
	if !ok || known.signed != s.signed {
		return nil
	}
	return known
}

// add remembers that by accepted the token s. What it keeps of s are copies: that may
// be a part of a larger string, and is one of the signature's.
func (c *cache) add(s segments, claims *Claims, by *acceptor, key *Key, identity replica.Prepared) {
	c.once.Do(c.open)
	claims.share(&by.cfg)
	c.tokens.Load().Set(c.key(s.signature), &verified{
		strings.Clone(s.signed), claims, by, key, identity,
	})
}

func (c *cache) open() {
	c.tokens.Store(otter.Must(&otter.Options[cacheKey, *verified]{
		MaximumWeight: c.limit,
		Weigher:       func(_ cacheKey, v *verified) uint32 { return v.bytes() },
	}))
}

func (c *cache) key(signature string) cacheKey {
	// The library only reads the bytes; see revoke's BenchmarkDigest for what a copy costs.
	hi, lo := siphash.Hash128(c.k0, c.k1, unsafe.Slice(unsafe.StringData(signature), len(signature)))
	return cacheKey{hi, lo}
}

// verifiedBytes is what each entry needs beside its text: what it is made of, and what
// the library adds, measured with room to spare.
var verifiedBytes = int(reflect.TypeFor[verified]().Size()+reflect.TypeFor[Claims]().Size()+uintptr(replica.PreparedBytes())) + 200

// bytes is the memory that v keeps, rounded up as an allocator does.
func (v *verified) bytes() uint32 {
	n := verifiedBytes + len(v.signed) + len(v.claims.payload)
	n += strings.IndexByte(v.signed, '.') // kid and typ are of a copy of the header
	for _, all := range [][]string{v.claims.audience, v.claims.scopes, v.claims.amr} {
		n += 16 * cap(all) // their text is in the payload
	}
	if strings.IndexByte(v.claims.payload, '\\') >= 0 { // or beside it, unescaped
		n += len(v.claims.payload)
	}
	return uint32(min(int64(n)+int64(n/8), math.MaxUint32))
}
