package bus

import (
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// HeartbeatSubject is "revocations.v1.heartbeat", where heartbeats are published, in the same
// stream as the events, since their place in its order is all that they mean.
const HeartbeatSubject = wire.HeartbeatSubject

// SignatureHeader is "Hybridtoken-Signature", the NATS header that carries the signature of an
// event: the id of the key, a dot, and the Ed25519 signature (RFC 8032), in base64url without
// padding.
//
// The id is the first 12 bytes of the SHA-256 of the public key, in base64url. What is
// signed is the text "hybridtoken revocation 1", a zero byte, the subject, a zero byte,
// and the payload as it stands in the message. The subject binds the issuer and the
// kind; a subject holds no zero byte.
const SignatureHeader = wire.SignatureHeader

// Subject returns the subject of events of that kind for that issuer:
// "revocations.v1.<issuer-hash>.<kind>". The hash is the first 16 bytes of the
// SHA-256 of iss in lowercase hexadecimal, because an iss holds characters that a
// subject cannot. Use it to write NATS permissions; a "*" in place of the kind
// allows all of an issuer's.
func Subject(issuer string, kind revoke.Kind) string { return wire.Subject(issuer, kind) }
