package bus

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
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
	maxTrusted      = 16

	// maxSigning bounds the calls of a Signer under way. It is given no context: those
	// that hang stay.
	maxSigning = 256
)

// A signer signs for one publisher.
type signer struct {
	key    crypto.Signer
	public ed25519.PublicKey // as it was first said to be, which is what id names
	id     string
	slots  chan struct{} // holds a token for each call under way
}

// newSigner returns nil for nil.
func newSigner(key crypto.Signer) (*signer, error) {
	if key == nil {
		return nil, nil
	}
	if k, ok := key.(ed25519.PrivateKey); ok && len(k) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(k), ed25519.PrivateKeySize)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("its public key is a %T, not an ed25519.PublicKey", key.Public())
	}
	public = slices.Clone(public)
	return &signer{key, public, keyID(public), make(chan struct{}, maxSigning)}, nil
}

// sign returns the header's value. A key in a KMS may take its time: ctx bounds the
// wait for it.
func (s *signer) sign(ctx context.Context, subject string, payload []byte) (string, error) {
	type result struct {
		signature []byte
		err       error
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return "", fmt.Errorf("sign: %d calls of the Signer do not return: %w", maxSigning, context.Cause(ctx))
	}
	done := make(chan result, 1)
	message := signed(subject, payload)
	go func() {
		r := result{err: errors.New("the Signer panicked")} // a recover of the caller's would not reach it
		defer func() {
			_ = recover()
			<-s.slots
			done <- r
		}()
		r.signature, r.err = s.key.Sign(rand.Reader, slices.Clone(message), crypto.Hash(0))
	}()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return "", fmt.Errorf("sign: %w", r.err)
		case !ed25519.Verify(s.public, message, r.signature):
			return "", errors.New("sign: the Signer returned a signature that is not of the key that it had at first: replicas would ignore the event")
		}
		return s.id + "." + base64.RawURLEncoding.EncodeToString(r.signature), nil
	case <-ctx.Done():
		return "", fmt.Errorf("sign: %w", context.Cause(ctx))
	}
}

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

// A trust holds the keys whose signatures count. Nil demands none.
type trust map[keyNumber]ed25519.PublicKey

func newTrust(keys []ed25519.PublicKey) (trust, error) {
	if keys == nil {
		return nil, nil
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("it is empty and not nil: no event of a mass kind would count")
	case len(keys) > maxTrusted:
		return nil, fmt.Errorf("it holds %d keys, more than %d", len(keys), maxTrusted)
	}
	t := trust{}
	for i, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key %d has %d bytes, not %d", i, len(k), ed25519.PublicKeySize)
		}
		if weak(k) {
			return nil, fmt.Errorf("key %d is a point of small order, for which anyone can sign", i)
		}
		if _, twice := t[keyNumberOf(k)]; twice {
			return nil, fmt.Errorf("key %d is there twice", i)
		}
		t[keyNumberOf(k)] = slices.Clone(k)
	}
	return t, nil
}

// weak reports whether a signature of zeros, or nearly, verifies under the key: the
// points of small order are the keys for which that can be.
func weak(key ed25519.PublicKey) bool {
	// For a key A of small order [8]A is the identity. With R the identity and S = 0 a
	// message verifies whenever the hash is a multiple of A's order, at least one in eight.
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1
	for i := range uint64(256) {
		if ed25519.Verify(key, binary.BigEndian.AppendUint64(nil, i), signature) {
			return true
		}
	}
	return false
}

// accepts reports whether the message may count: it is of no mass kind, or nothing is
// demanded, or it lacks nothing and is signed by one of the keys.
func (t trust) accepts(m *nats.Msg, e *revoke.Event) bool {
	return t == nil || !e.Kind.Mass() || t.lacks(e) == "" && t.verifies(m)
}

// lacks returns the member without which a signature is not enough.
//
// A signature says nothing of when the message was stored. Anyone who may publish can store
// a signed one again; so it has to say itself until when it cuts off, and for how long,
// which otherwise the time of storing decides. Nor may the reading that revokes most
// stand in for either: it counts from the time of storing as well, and to store the
// event again would lock out everybody who has logged in since.
func (t trust) lacks(e *revoke.Event) string {
	switch {
	case e.Kind.Cutoff() && e.Before.IsZero():
		return "before"
	case e.Until.IsZero():
		return "until"
	}
	return ""
}

// verifies reports whether the message is signed by one of the keys.
func (t trust) verifies(m *nats.Msg) bool {
	values := m.Header[SignatureHeader]
	if len(values) != 1 {
		return false
	}
	id, signature, ok := parseSignature(values[0])
	if !ok {
		return false
	}
	key, ok := t[id]
	return ok && ed25519.Verify(key, signed(m.Subject, m.Data), signature)
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
