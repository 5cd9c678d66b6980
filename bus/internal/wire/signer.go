package wire

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// maxSigning bounds the calls of a Signer under way. It is given no context: those
// that hang stay.
const maxSigning = 256

// A Signer signs for one publisher.
type Signer struct {
	key    crypto.Signer
	public ed25519.PublicKey // as it was first said to be, which is what id names
	id     string
	slots  chan struct{} // holds a token for each call under way
}

// NewSigner returns nil for nil.
func NewSigner(key crypto.Signer) (*Signer, error) {
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
	return &Signer{key, public, keyID(public), make(chan struct{}, maxSigning)}, nil
}

// Sign returns the header's value. A key in a KMS may take its time: ctx bounds the
// wait for it.
func (s *Signer) Sign(ctx context.Context, subject string, payload []byte) (string, error) {
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
