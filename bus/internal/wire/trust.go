package wire

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// maxTrusted bounds the keys of a trust.
const maxTrusted = 16

// A Trust holds the keys whose signatures count. Nil demands none.
type Trust map[keyNumber]ed25519.PublicKey

func NewTrust(keys []ed25519.PublicKey) (Trust, error) {
	if keys == nil {
		return nil, nil
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("it is empty and not nil: no event of a mass kind would count")
	case len(keys) > maxTrusted:
		return nil, fmt.Errorf("it holds %d keys, more than %d", len(keys), maxTrusted)
	}
	t := Trust{}
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

// With returns the keys and s's, which is nil or one of them or one more.
func (t Trust) With(s *Signer) Trust {
	keys := Trust{}
	maps.Copy(keys, t)
	if s != nil {
		keys[keyNumberOf(s.public)] = s.public
	}
	return keys
}

// Holds reports whether the signer's key is one of the keys.
func (t Trust) Holds(s *Signer) bool { return t[keyNumberOf(s.public)] != nil }

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

// Accepts reports whether the message may count: it is of no mass kind, or nothing is
// demanded, or it lacks nothing and is signed by one of the keys.
func (t Trust) Accepts(m *nats.Msg, e *revoke.Event) bool {
	return t == nil || !e.Kind.Mass() || t.Lacks(e) == "" && t.Verifies(m)
}

// Lacks returns the member without which a signature is not enough.
//
// A signature says nothing of when the message was stored. Anyone who may publish can store
// a signed one again; so it has to say itself until when it cuts off, and for how long,
// which otherwise the time of storing decides. Nor may the reading that revokes most
// stand in for either: it counts from the time of storing as well, and to store the
// event again would lock out everybody who has logged in since.
func (t Trust) Lacks(e *revoke.Event) string {
	switch {
	case e.Kind.Cutoff() && e.Before.IsZero():
		return "before"
	case e.Until.IsZero():
		return "until"
	}
	return ""
}

// Verifies reports whether the message is signed by one of the keys.
func (t Trust) Verifies(m *nats.Msg) bool {
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
