package refresh

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"strings"
)

const (
	// offerLife is how long the browser may take to register, in milliseconds. It does so at
	// once.
	offerLife = 5 * 60_000

	// maxBoundKey bounds the public key: one of RSA with 4,096 bits has 550 bytes.
	maxBoundKey = 1 << 10

	markBytes = 16
	tagBytes  = 16
)

const offerPrefix = "htb1_"

const (
	useOffer     = "offer"
	useOffered   = "offered challenge"
	useBoundID   = "bound id"
	useChallenge = "bound challenge"
)

// An offered is an authorization: what a login offers, and a registration takes.
type offered struct {
	sid    [16]byte
	secret secret
}

// offer has the session offer to be bound.
func (s *session) offer(o *offered, now int64) {
	hash := o.secret.hash(useOffer, o.sid)
	s.Offer, s.OfferUntil = hash[:], now+offerLife
}

func (o *offered) encode() string {
	return offerPrefix + tokenEncoding.EncodeToString(append(o.sid[:], o.secret[:]...))
}

func parseOffer(s string) (o offered, ok bool) {
	rest, ok := strings.CutPrefix(s, offerPrefix)
	if !ok || len(rest) != tokenEncoding.EncodedLen(16+32) || strings.ContainsAny(rest, "\r\n") {
		return offered{}, false
	}
	b, err := tokenEncoding.DecodeString(rest)
	if err != nil {
		return offered{}, false
	}
	return offered{[16]byte(b), secret(b[16:])}, true
}

// challenge is what the proof of a registration has to be for.
func (o *offered) challenge() string {
	h := o.secret.hash(useOffered, o.sid)
	return tokenEncoding.EncodeToString(h[:])
}

// offering reports whether the session may be bound at this moment, or a moment ago.
func (s *session) offering(now, skew int64) bool {
	return len(s.Offer) > 0 && now <= s.OfferUntil+skew+storeLag
}

func (s *session) tag(use string, rest ...[]byte) []byte {
	h := hmac.New(sha256.New, s.BoundSalt)
	h.Write([]byte("hybridtoken refresh " + use + "\x00" + s.SID))
	for _, b := range rest {
		h.Write(b)
	}
	return h.Sum(nil)[:tagBytes]
}

// boundID names the session to its browser. Others of its site must not guess it: they could
// put a session of their own in its place.
func (s *session) boundID() string {
	sid, _ := parseSID(s.SID) // it was found under it
	return tokenEncoding.EncodeToString(append(sid[:], s.tag(useBoundID)...))
}

func parseBoundID(s string) (sid [16]byte, ok bool) {
	if len(s) != tokenEncoding.EncodedLen(16+tagBytes) || strings.ContainsAny(s, "\r\n") {
		return sid, false
	}
	b, err := tokenEncoding.DecodeString(s)
	if err != nil {
		return sid, false
	}
	return [16]byte(b), true
}

// challenge returns one for the next proof, dated now. It is good until the session is used.
func (s *session) challenge(now int64) string {
	at := binary.BigEndian.AppendUint64(nil, uint64(now))
	return tokenEncoding.EncodeToString(append(at, s.tag(useChallenge, s.BoundMark, at)...))
}

// fresh returns why a challenge is not the one to be answered, or nothing if it is.
func (s *session) fresh(challenge string, now, life, skew int64) string {
	if len(challenge) != tokenEncoding.EncodedLen(8+tagBytes) || strings.ContainsAny(challenge, "\r\n") {
		return "for another challenge"
	}
	b, err := tokenEncoding.DecodeString(challenge)
	if err != nil || subtle.ConstantTimeCompare(b[8:], s.tag(useChallenge, s.BoundMark, b[:8])) != 1 {
		return "for a challenge that was used, or another"
	}
	if at := int64(binary.BigEndian.Uint64(b)); now-at > life+skew || at-now > skew {
		return "for a challenge that is too old"
	}
	return ""
}

// challengeLife is how long a challenge is good, in milliseconds: the browser proves when the
// access token that came with it runs out, or a little before.
func (m *Manager) challengeLife() int64 {
	return m.cfg.Lifetimes.Access.Milliseconds() + offerLife
}

// useUp gives a bound session another mark, by which all challenges so far are used up.
func (s *session) useUp() {
	s.BoundMark = make([]byte, markBytes)
	rand.Read(s.BoundMark) // never fails
}

// demand asks for a proof.
func (m *Manager) demand(r *session, why string) error {
	return &ChallengeError{Session: r.boundID(), Challenge: r.challenge(m.millis()), why: why}
}
