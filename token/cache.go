package token

import (
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// defaultCacheBytes holds some ten thousand tokens.
const defaultCacheBytes = 16 << 20

// minCacheBytes is room for the largest token that [VerifierConfig].MaxTokenBytes means
// by default, and some small ones: less would be no cache.
const minCacheBytes = 64 << 10

// A cache remembers tokens that were verified, so that the signature of a token that
// comes again is not checked again. It remembers nothing that changes: anyone who finds
// a token here judges its times, that its key is there, and asks the denylist.
//
// A token is found by a keyed digest of its signature segment, see [sealer], and is the one
// remembered if digest and length are equal and all the rest, byte for byte. So two tokens
// share an entry only if they differ in nothing but the signature and all 256 bits of its
// digest collide, under a key that nobody outside knows and no answer depends on: a chance
// of at most 2⁻¹²⁸ a try. Anyone who gets that far holds a token that is good anyway, but
// for its signature. The signature itself is not kept, without which nobody can use what
// lies here in memory.
//
// Only tokens that passed every check enter, so that a flood of bad ones leaves no
// trace. Of good ones the policy of the library (W-TinyLFU) keeps what is used often.
type cache struct {
	limit  uint64 // in bytes
	seal   *sealer
	once   sync.Once
	tokens atomic.Pointer[otter.Cache[uint64, *verified]] // nil until a token enters

	// signature is how long that of the token was that entered last: where a token is cut
	// is then a look at one byte. Any number is safe, see find.
	signature atomic.Int64
}

// A verified is a token that was accepted. But for what is atomic, it is immutable. It fits two
// cache lines.
type verified struct {
	seal   seal
	signed string // header and payload, as received
	by     *acceptor
	claims *Claims

	keys atomic.Uint64 // the number of the set that the key was last found in, see [StaticKeySet]; 0: none

	// At any time from since on and before until, by the wall clock in nanoseconds,
	// acceptor.stands returns nil for the token, whatever it was presented with but a DPoP
	// proof. They are the same if that depends on more than the time.
	since, until int64

	identity  replica.Prepared // zero without a denylist
	signature uint32           // its length
	satisfied satisfied
}

// newCache returns a cache of that many bytes, nil for none.
func newCache(limit int) *cache {
	if limit <= 0 {
		return nil
	}
	return &cache{limit: uint64(limit), seal: newSealer()}
}

// find returns what is remembered of the token raw, or nil. What it returns was taken apart
// before by [cut], within the same bounds: header and payload are the same bytes, and the
// signature is as long, and no other. Where raw is cut here only decides whether it is found.
func (c *cache) find(raw string) *verified {
	if c == nil {
		return nil
	}
	tokens := c.tokens.Load()
	if tokens == nil {
		return nil
	}
	dot := len(raw) - 1 - int(c.signature.Load())
	if uint(dot) >= uint(len(raw)) || raw[dot] != '.' {
		if dot = strings.LastIndexByte(raw, '.'); dot < 0 {
			return nil
		}
	}
	s, ok := c.seal.of(raw[dot+1:])
	if !ok {
		return nil
	}
	known, ok := tokens.GetIfPresent(s.short())
	if !ok || int(known.signature) != len(raw)-dot-1 || !known.seal.is(&s) || known.signed != raw[:dot] {
		return nil
	}
	return known
}

// entry returns the token s, accepted by by with these claims, as it is remembered by add. What it
// keeps of s are copies: that may be a part of a larger string.
func (c *cache) entry(s segments, claims *Claims, by *acceptor) *verified {
	v := &verified{signed: strings.Clone(s.signed), by: by, claims: claims, signature: uint32(len(s.signature))}
	if list := by.cfg.Revocations; list != nil {
		id := claims.Identity()
		v.identity = replica.Prepare(list, &id)
	}
	return v
}

// add remembers v, whose signature is given here.
func (c *cache) add(v *verified, signature string) {
	var ok bool
	if v.seal, ok = c.seal.of(signature); !ok {
		return
	}
	c.once.Do(c.open)
	v.claims.share(&v.by.cfg)
	if n := int64(len(signature)); c.signature.Load() != n {
		c.signature.Store(n)
	}
	v.since, v.until = v.by.standing(v.claims)
	c.tokens.Load().Set(v.seal.short(), v)
}

func (c *cache) open() {
	c.tokens.Store(otter.Must(&otter.Options[uint64, *verified]{
		MaximumWeight: c.limit,
		Weigher:       func(_ uint64, v *verified) uint32 { return v.bytes() },
	}))
}

// standing returns verified.since and until of claims that a has accepted.
func (a *acceptor) standing(c *Claims) (since, until int64) {
	if a.tenants != nil || a.cfg.RequireBinding || !c.binding.IsZero() || a.concerns(c) != nil {
		return 0, 0 // a tenant may go, a key must be shown, and the service that issued it may have asked
	}
	from := c.issued.ms // before it, it is counted
	if c.notBefore.set {
		from = max(from, c.notBefore.ms-a.leeway)
	}
	if c.minted.set {
		from = max(from, c.minted.ms-a.minted)
	}
	return nanoseconds(from), nanoseconds(c.expires.ms + a.leeway)
}

// nanoseconds returns ms in nanoseconds, or what is nearest to it.
func nanoseconds(ms int64) int64 {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return min(max(ms, -most), most) * int64(time.Millisecond)
}

// again is what Verify does with a token that it remembers. It is where nearly all requests
// go: it takes no lock and writes to no memory that another processor reads. now was read
// before the token was looked for: to read a clock has a processor wait for all that it has asked
// of memory before, and what is asked of it afterwards it fetches at the same time.
func (a *acceptor) again(known *verified, now revoke.Instant, d *demands, p *presented, raw string) (ok accepted, err error) {
	if now.Wall < known.since || now.Wall >= known.until || p.sender.Proof != "" {
		return a.accept(known.claims, &known.identity, d, p, raw, nil)
	}
	if err := a.revoked(known.claims, &known.identity, now, a.policy(d)); err != nil {
		return ok, err
	}
	if d.asks() && !known.satisfied.holds(d) {
		if err := a.sufficient(known.claims, d, now.Wall/int64(time.Millisecond)); err != nil {
			return ok, err
		}
		known.satisfied.add(d)
	}
	return accepted{known.claims, a, now}, nil
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
