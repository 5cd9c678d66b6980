package revoke

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"
)

// An Identity names a verified token to the denylist. Only values that were
// verified belong in it; an empty field cannot be revoked by its kind.
type Identity struct {
	Issuer    string    // iss
	Token     string    // jti
	Session   string    // sid
	Subject   string    // sub
	Client    string    // client_id
	Tenant    string    // the tenant claim
	Key       string    // RFC 7638 thumbprint of the key that verified the token
	IssuedAt  time.Time // iat; the zero time is before every cutoff
	ExpiresAt time.Time // exp; used by [TokenOf] only
}

// value returns the field that events of kind k name.
func (id *Identity) value(k Kind) string {
	switch k {
	case Token:
		return id.Token
	case Session:
		return id.Session
	case Subject:
		return id.Subject
	case Client:
		return id.Client
	case Tenant:
		return id.Tenant
	case Key:
		return id.Key
	}
	return ""
}

// MaxValueBytes is the largest issuer, jti, sid, sub, client_id or tenant that an
// event can name, in bytes. A verifier refuses tokens with a longer one, which
// could never be revoked.
const MaxValueBytes = 512

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

// digest hashes kind, issuer and value, each length-prefixed, with SipHash-2-4-128.
func (h hasher) digest(k Kind, issuer, value string) digest {
	var stack [256]byte
	buf := append(stack[:0], byte(k))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(issuer)))
	buf = append(buf, issuer...)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(value)))
	buf = append(buf, value...)
	hi, lo := siphash.Hash128(h.k0, h.k1, buf)
	return digest{max(hi, 1), lo & (idHigh | idLow)}
}
