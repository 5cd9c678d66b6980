package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

const (
	magic = "\x89HTsnap\n"
	// signedPrefix stands before the digest in what is signed, so that a signature is good
	// for nothing else.
	signedPrefix = "hybridtoken snapshot 1\x00"

	keyIDBytes     = 12
	signatureBytes = 64
)

// A KeyID names an Ed25519 key: the first bytes of the SHA-256 of the public key.
type KeyID [keyIDBytes]byte

// KeyIDOf returns the id of a public key.
func KeyIDOf(public []byte) KeyID {
	sum := sha256.Sum256(public)
	return KeyID(sum[:keyIDBytes])
}

// Sign returns the signature of a message and which key's it is.
type Sign func(message []byte) (key KeyID, signature []byte, err error)

// Verify reports whether the signature of the message is that of a key that counts.
type Verify func(key KeyID, message, signature []byte) bool

// Encode returns m as bytes, signed by sign, or not if that is nil.
func (m *Manifest) Encode(sign Sign) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	body := m.appendBody(nil)
	if len(body) > maxBody {
		return nil, Refuse(Impossible, "a manifest of %d bytes", len(body))
	}
	b := make([]byte, 0, len(magic)+8+len(body)+sha256.Size+1+keyIDBytes+signatureBytes)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	m.sum = sha256.Sum256(b)
	b = append(b, m.sum[:]...)
	m.Signer = KeyID{}
	if sign == nil {
		return append(b, 0), nil
	}
	key, signature, err := sign(message(m.sum))
	switch {
	case err != nil:
		return nil, err
	case len(signature) != signatureBytes:
		return nil, fmt.Errorf("a signature of %d bytes, not %d", len(signature), signatureBytes)
	}
	m.Signer = key
	b = append(b, 1)
	b = append(b, key[:]...)
	return append(b, signature...), nil
}

// Sum is the SHA-256 of the manifest as it was written or read, without its signature: it
// names the snapshot.
func (m *Manifest) Sum() [sha256.Size]byte { return m.sum }

func message(sum [sha256.Size]byte) []byte { return append([]byte(signedPrefix), sum[:]...) }

func (m *Manifest) appendBody(b []byte) []byte {
	le := binary.LittleEndian
	word := func(x uint64) { b = le.AppendUint64(b, x) }
	number := func(n int) { b = le.AppendUint16(b, uint16(n)) }
	word(uint64(m.Written.UnixMilli()))
	word(uint64(millis(m.Newest)))
	for _, d := range [...]time.Duration{m.TokenLifetime, m.SessionLifetime, m.MaxSkew} {
		word(uint64(d.Milliseconds()))
	}
	l := &m.Log
	number(len(l.Stream))
	b = append(b, l.Stream...)
	word(uint64(nanos(l.Created)))
	word(l.Sequence)
	number(len(l.Anchors))
	for i := range l.Anchors {
		a := &l.Anchors[i]
		word(a.Sequence)
		word(uint64(nanos(a.Time)))
		expires := int64(0)
		if !a.Expires.IsZero() {
			expires = a.Expires.Unix()
		}
		word(uint64(expires))
		b = append(b, a.Hash[:]...)
	}
	number(len(l.Issuers))
	for i := range l.Issuers {
		b = append(b, l.Issuers[i][:]...)
	}
	number(int(l.Digest.Algorithm))
	number(len(l.Digest.Marks))
	for i := range l.Digest.Marks {
		d := &l.Digest.Marks[i]
		word(d.Sequence)
		word(d.Count)
		b = append(b, d.Sum[:]...)
	}
	number(len(l.Digest.Groups))
	for i := range l.Digest.Groups {
		g := &l.Digest.Groups[i]
		word(uint64(g.Begin))
		word(g.Count)
		b = append(b, g.Sum[:]...)
	}
	number(len(m.Tables))
	for i := range m.Tables {
		t := &m.Tables[i]
		b = append(b, t.Key[:]...)
		b = append(b, t.Known[:]...)
		for _, n := range t.Runs {
			word(n)
		}
		word(t.Spared)
		for _, n := range t.Blocks {
			b = le.AppendUint32(b, n)
		}
	}
	for _, p := range [...]*Part{&m.Entries, &m.Filter} {
		word(p.Size)
		b = append(b, p.Sum[:]...)
	}
	return b
}

// nanos are unix nanoseconds, 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// millis are unix milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// AnchorHash is that of a message: the SHA-256 of its sequence and timestamp (unix
// nanoseconds), the length of its subject, all big-endian, 8, 8 and 4 bytes, its subject
// and its payload. It is the hash that digests sum.
func AnchorHash(sequence uint64, at time.Time, subject string, data []byte) [32]byte {
	b := make([]byte, 0, 20+len(subject)+len(data))
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixNano()))
	b = binary.BigEndian.AppendUint32(b, uint32(len(subject)))
	b = append(b, subject...)
	b = append(b, data...)
	return sha256.Sum256(b)
}
