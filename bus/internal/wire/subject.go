package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// HeartbeatSubject is where heartbeats are published, in the same stream as the
// events, since their place in its order is all that they mean.
const HeartbeatSubject = subjectPrefix + "heartbeat"

// StreamSubjects are those of everything in the stream.
const StreamSubjects = subjectPrefix + ">"

const (
	subjectPrefix  = "revocations.v1."
	issuerHashSize = 16 // bytes; 32 hexadecimal digits in a subject
)

// Subject returns the subject of events of that kind for that issuer:
// "revocations.v1.<issuer-hash>.<kind>". The hash is the first 16 bytes of the
// SHA-256 of iss in lowercase hexadecimal, because an iss holds characters that a
// subject cannot. Use it to write NATS permissions; a "*" in place of the kind
// allows all of an issuer's.
func Subject(issuer string, kind revoke.Kind) string {
	return eventSubject(issuer, kind.String())
}

func eventSubject(issuer, kind string) string {
	sum := sha256.Sum256([]byte(issuer))
	var buf [len(subjectPrefix) + 2*issuerHashSize + 1 + 16]byte
	b := append(buf[:0], subjectPrefix...)
	b = hex.AppendEncode(b, sum[:issuerHashSize])
	b = append(b, '.')
	return string(append(b, kind...))
}

// IssuerPrefix returns what the subjects of all events for that issuer begin with.
func IssuerPrefix(issuer string) string { return eventSubject(issuer, "") }

// PrefixOf returns of an event's subject what [IssuerPrefix] returns for its issuer.
func PrefixOf(subject string) string {
	const prefix = len(subjectPrefix) + 2*issuerHashSize + 1
	return subject[:min(prefix, len(subject))]
}

// RecordDigest identifies a message of the log by what it says: SHA-256 over
// subject and payload, each length-prefixed. Headers are left out; servers edit
// them.
func RecordDigest(subject string, data []byte) [32]byte {
	h := sha256.New()
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(subject)))
	h.Write(n[:])
	h.Write([]byte(subject))
	binary.LittleEndian.PutUint64(n[:], uint64(len(data)))
	h.Write(n[:])
	h.Write(data)
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}
