package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// SignatureHeader is the NATS header that carries the signature of an event: the id of
// the key, a dot, and the Ed25519 signature (RFC 8032), in base64url without padding.
//
// The id is the first 12 bytes of the SHA-256 of the public key, in base64url. What is
// signed is the text "hybridtoken revocation 1", a zero byte, the subject, a zero byte,
// and the payload as it stands in the message. The subject binds the issuer and the
// kind; a subject holds no zero byte.
const SignatureHeader = "Hybridtoken-Signature"

const (
	signaturePrefix = "hybridtoken revocation 1\x00"
	keyIDBytes      = 12
)

func signed(subject string, payload []byte) []byte {
	b := make([]byte, 0, len(signaturePrefix)+len(subject)+1+len(payload))
	b = append(b, signaturePrefix...)
	b = append(b, subject...)
	b = append(b, 0)
	return append(b, payload...)
}

// A keyNumber is a key's id, decoded.
type keyNumber [keyIDBytes]byte

func keyNumberOf(key ed25519.PublicKey) keyNumber {
	sum := sha256.Sum256(key)
	return keyNumber(sum[:keyIDBytes])
}

func keyID(key ed25519.PublicKey) string {
	n := keyNumberOf(key)
	return base64.RawURLEncoding.EncodeToString(n[:])
}

// parseSignature reads a header's value. Nothing has two spellings.
func parseSignature(value string) (id keyNumber, signature []byte, ok bool) {
	encoding := base64.RawURLEncoding.Strict()
	if len(value) != encoding.EncodedLen(keyIDBytes)+1+encoding.EncodedLen(ed25519.SignatureSize) || strings.ContainsAny(value, "\r\n") {
		return id, nil, false
	}
	name, rest, ok := strings.Cut(value, ".")
	if !ok {
		return id, nil, false
	}
	number, err := encoding.DecodeString(name)
	if err != nil || len(number) != keyIDBytes {
		return id, nil, false
	}
	if signature, err = encoding.DecodeString(rest); err != nil || len(signature) != ed25519.SignatureSize {
		return id, nil, false
	}
	return keyNumber(number), signature, true
}
