package revoke

import (
	"time"
	"unsafe"

	"github.com/dchest/siphash"
)

// An Identity names a verified token to the denylist. Only values that were
// verified belong in it; an empty field cannot be revoked by its kind.
//
// Its JSON is stable, so that it can be kept with work that waits, to be judged again when the work is
// done. It holds no credential.
type Identity struct {
	Issuer    string    `json:"iss"`                 // iss
	Token     string    `json:"jti,omitempty"`       // jti
	Session   string    `json:"sid,omitempty"`       // sid
	Subject   string    `json:"sub,omitempty"`       // sub
	Client    string    `json:"client_id,omitempty"` // client_id
	Tenant    string    `json:"tenant,omitempty"`    // the tenant claim
	Key       string    `json:"key,omitempty"`       // RFC 7638 thumbprint of the key that verified the token
	IssuedAt  time.Time `json:"iat,omitzero"`        // iat; the zero time is before every cutoff
	MintedAt  time.Time `json:"hyt_at,omitzero"`     // hyt_at, with which cutoffs compare in place of IssuedAt; zero: the token has none
	ExpiresAt time.Time `json:"exp,omitzero"`        // exp; used by [TokenOf] only
}

// cutoffMillis is the instant that cutoffs compare with.
func (id *Identity) cutoffMillis() int64 {
	if !id.MintedAt.IsZero() {
		return id.MintedAt.UnixMilli()
	}
	return id.IssuedAt.UnixMilli()
}

// value returns the field that events of kind k name.
func (id *Identity) value(k Kind) string {
	switch k {
	case KindToken:
		return id.Token
	case KindSession:
		return id.Session
	case KindSubject:
		return id.Subject
	case KindClient:
		return id.Client
	case KindTenant:
		return id.Tenant
	case KindKey:
		return id.Key
	}
	return ""
}

// A digest is a keyed identity of (kind, issuer, value), of 112 bits: 64 in hi,
// never zero, and 48 in lo, whose bits 32 to 47 are zero because a table slot has
// no room for them. With 10 million entries and seven look-ups a check, a wrong
// match has probability 7·10⁷/2¹¹² < 2⁻⁸⁵ (invariant 2).
type digest struct {
	hi, lo uint64
}

const (
	idHigh = 0xffff << 48
	idLow  = 0xffffffff
)

// A hasher makes digests. Its key is random and secret to the List, so that
// nobody can choose values that collide in the filter or the table.
type hasher struct {
	k0, k1 uint64
}

// digest hashes kind, issuer and value.
func (h hasher) digest(k Kind, issuer, value string) digest { return h.scope(k, issuer).of(value) }

// scope returns the hasher of the values of one kind at one issuer, whose key is
// SipHash-2-4-128 of both under h's. A pseudorandom function's output is as good a key
// as h's own, and no two scopes share one; the value is then the whole message, so
// that it takes no framing to tell (kind, issuer, value) from any other.
func (h hasher) scope(k Kind, issuer string) hasher {
	var stack [128]byte
	k0, k1 := siphash.Hash128(h.k0, h.k1, append(append(stack[:0], byte(k)), issuer...))
	return hasher{k0, k1}
}

// of hashes a value.
func (h hasher) of(value string) digest {
	// The library takes bytes and only reads them. To copy a text onto the stack first
	// would take a third as long as to hash it, and a check hashes seven
	// (BenchmarkDigest).
	hi, lo := siphash.Hash128(h.k0, h.k1, unsafe.Slice(unsafe.StringData(value), len(value)))
	return digest{max(hi, 1), lo & (idHigh | idLow)}
}

// scopes are those of an issuer that a verifier named. They spare a check to derive
// them anew.
type scopes struct {
	issuer string
	kind   [kinds]hasher
	whole  digest // of KindIssuer, which has no value
}

func newScopes(h hasher, issuer string) scopes {
	s := scopes{issuer: issuer}
	for k := KindToken; k <= KindIssuer; k++ {
		s.kind[k] = h.scope(k, issuer)
	}
	s.whole = s.kind[KindIssuer].of("")
	return s
}

// digests hashes values of one issuer.
type digests struct {
	hasher *hasher
	issuer string
	scopes *scopes // nil: nobody named the issuer
}

func (l *replica) digests(issuer string) digests {
	return digests{hasher: l.hasher, issuer: issuer, scopes: l.issuers.find(issuer)}
}

func (d *digests) of(k Kind, value string) digest {
	switch {
	case d.scopes == nil:
	case k == KindIssuer:
		return d.scopes.whole
	default:
		return d.scopes.kind[k].of(value)
	}
	return d.hasher.digest(k, d.issuer, value)
}
