package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A nonce is the time it was made at, in milliseconds, and a MAC of it: nothing is
// kept. It is no secret and need not be unique (RFC 9449 section 8): all that it
// proves is that the proof was made after it.
const (
	nonceTime = 8
	nonceMAC  = 16
)

// nonce returns the same nonce throughout a quarter of NonceLifetime.
func (s *dpopState) nonce(now time.Time) string {
	quarter := s.cfg.NonceLifetime.Milliseconds() / 4
	ms := now.UnixMilli()
	return segment.EncodeToString(sealNonce(s.cfg.NonceKeys[0], ms-ms%quarter))
}

// openNonce returns the time of a nonce of ours that is still good.
func (s *dpopState) openNonce(text string, now time.Time) (ms int64, ok bool) {
	if len(text) != segment.EncodedLen(nonceTime+nonceMAC) {
		return 0, false
	}
	b, err := segment.DecodeString(text)
	if err != nil || len(b) != nonceTime+nonceMAC {
		return 0, false
	}
	ms = int64(binary.BigEndian.Uint64(b))
	age := now.UnixMilli() - ms
	if age > s.cfg.NonceLifetime.Milliseconds() || age < -s.cfg.Window.Milliseconds() {
		return 0, false
	}
	for _, key := range s.cfg.NonceKeys {
		if hmac.Equal(b, sealNonce(key, ms)) {
			return ms, true
		}
	}
	return 0, false
}

func sealNonce(key *[32]byte, ms int64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceTime+sha256.Size), uint64(ms))
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("hybridtoken DPoP nonce 1\n"))
	mac.Write(b)
	return mac.Sum(b)[:nonceTime+nonceMAC]
}
