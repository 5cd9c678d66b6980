package refresh

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
)

// A refresh token is opaque to clients: the prefix, by which scanners for leaked
// secrets know it, and in base64url without padding
//
//	session id, 16 bytes; check, 8 bytes; family secret, 32 bytes; generation secret, 32 bytes
//
// Its integrity needs no MAC (RFC 9700 section 4.14.2): the session id only says
// where to look, and both secrets are compared with hashes in the record found there. The
// check is the beginning of a hash of all the rest. It proves nothing, since everybody can
// compute it; by it a token has one spelling, and a damaged one is known without the store.
//
// Versions up to 601627d wrote the time of issue in place of the check. Their tokens are
// good for the generations that those versions made ([session].ExactFrom), and that time
// decides nothing any more: strangers chose their answer by it.
const (
	tokenPrefix = "htr1_"
	tokenBytes  = 16 + 8 + 32 + 32
)

type (
	secret [32]byte // never stored, never logged
	digest [32]byte // of a secret
)

func newSecret() (s secret) {
	rand.Read(s[:]) // never fails
	return s
}

// hash returns what the store keeps of s. The session id keeps the hashes of two
// sessions apart, the use those of a family and a generation.
func (s secret) hash(use string, sid [16]byte) digest {
	h := sha256.New()
	h.Write([]byte("hybridtoken refresh " + use + "\x00"))
	h.Write(sid[:])
	h.Write(s[:])
	return digest(h.Sum(nil))
}

const (
	useFamily     = "family"
	useGeneration = "generation"
)

// A presented is a refresh token as it was read.
type presented struct {
	sid        [16]byte
	exact      bool // it has its check; otherwise it is, or pretends to be, of an earlier version
	family     secret
	generation secret

	good    bool     // it was seen to be good, in this call
	stood   standing // where it did, once it is good
	retry   bool     // it was used up, and this is a retry that may be one in the window
	arrived int64    // when the call began, unix milliseconds by our clock, or by the bus's
	unbound *session // it is of a session that is bound to its device
	ahead   int64    // if ours is off by so many milliseconds
}

var tokenEncoding = base64.RawURLEncoding.Strict()

func (p *presented) encode() string { return p.spell(p.check()) }

// encodeIssued spells the token as versions up to 601627d did.
func (p *presented) encodeIssued(at int64) string {
	return p.spell([8]byte(binary.BigEndian.AppendUint64(nil, uint64(at))))
}

func (p *presented) spell(middle [8]byte) string {
	b := append(make([]byte, 0, tokenBytes), p.sid[:]...)
	b = append(b, middle[:]...)
	b = append(b, p.family[:]...)
	b = append(b, p.generation[:]...)
	return tokenPrefix + tokenEncoding.EncodeToString(b)
}

func (p *presented) check() [8]byte {
	h := sha256.New()
	h.Write([]byte("hybridtoken refresh token\x00"))
	h.Write(p.sid[:])
	h.Write(p.family[:])
	h.Write(p.generation[:])
	return [8]byte(h.Sum(nil))
}

func parseToken(s string) (p presented, ok bool) {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok || len(rest) != tokenEncoding.EncodedLen(tokenBytes) {
		return presented{}, false
	}
	// The decoder skips line breaks, which would be a second spelling.
	if strings.ContainsAny(rest, "\r\n") {
		return presented{}, false
	}
	b, err := tokenEncoding.DecodeString(rest)
	if err != nil {
		return presented{}, false
	}
	copy(p.sid[:], b)
	copy(p.family[:], b[24:])
	copy(p.generation[:], b[56:])
	check := p.check()
	p.exact = bytes.Equal(b[16:24], check[:])
	return p, true
}

// sidText is a session id as tokens and events name it.
func sidText(sid [16]byte) string { return base64.RawURLEncoding.EncodeToString(sid[:]) }

func parseSID(s string) (sid [16]byte, ok bool) {
	if len(s) != base64.RawURLEncoding.EncodedLen(len(sid)) || strings.ContainsAny(s, "\r\n") {
		return sid, false
	}
	b, err := tokenEncoding.DecodeString(s)
	if err != nil {
		return sid, false
	}
	return [16]byte(b), true
}

// seal encrypts the successor of s, so that only who holds s can open it: a retry,
// and not a thief of the store.
func (s secret) seal(successor secret, sid [16]byte, generation uint64) []byte {
	nonce := make([]byte, sealNonce, sealNonce+len(successor)+16)
	rand.Read(nonce) // never fails
	return s.aead().Seal(nonce, nonce, successor[:], sealContext(sid, generation))
}

const (
	sealNonce = 12
	sealBytes = sealNonce + 32 + 16
)

var errSeal = errors.New("sealed successor does not open")

func (s secret) open(sealed []byte, sid [16]byte, generation uint64) (successor secret, err error) {
	if len(sealed) != sealBytes {
		return secret{}, errSeal
	}
	plain, err := s.aead().Open(nil, sealed[:sealNonce], sealed[sealNonce:], sealContext(sid, generation))
	if err != nil || len(plain) != len(successor) {
		return secret{}, errSeal
	}
	return secret(plain), nil
}

func (s secret) aead() cipher.AEAD {
	key, err := hkdf.Key(sha256.New, s[:], nil, "hybridtoken refresh successor", 32)
	if err != nil {
		panic("refresh: " + err.Error()) // not for 32 bytes of SHA-256
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("refresh: " + err.Error()) // not for 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("refresh: " + err.Error()) // not for AES
	}
	return aead
}

// sealContext binds a seal to its session and to the generation that was used up.
func sealContext(sid [16]byte, generation uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("seal\x00"), sid[:]...), generation)
}
