package jose

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// maxForeign bounds the calls under way to one foreign key: crypto.Signer knows no
// context, so that a call whose caller has gone away still goes on.
const maxForeign = 64

// A foreign signs with a key that is elsewhere: in a KMS, a token, a module of
// hardware. Such a signer is slow, fails, and may be set up for another algorithm.
type foreign struct {
	alg      string
	scheme   scheme
	key      crypto.Signer
	verifier Verifier
	slots    chan struct{}
}

func newForeign(alg string, key crypto.Signer, public crypto.PublicKey) (*foreign, error) {
	v, err := NewVerifier(alg, public)
	if err != nil {
		return nil, err
	}
	return &foreign{alg, schemes[alg], key, v, make(chan struct{}, maxForeign)}, nil
}

type foreignAnswer struct {
	signature []byte
	err       error
}

func (f *foreign) sign(ctx context.Context, input []byte) ([]byte, error) {
	message, opts := f.request(input)
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to sign with %s: %w", f.alg, ctx.Err())
	}
	answer := make(chan foreignAnswer, 1)
	go func() {
		defer func() {
			<-f.slots
			if recover() != nil { // in our goroutine nobody else could
				answer <- foreignAnswer{err: errors.New("the signer panicked")}
			}
		}()
		signature, err := f.key.Sign(rand.Reader, message, opts)
		answer <- foreignAnswer{signature, err}
	}()
	var a foreignAnswer
	select {
	case a = <-answer:
	case <-ctx.Done():
		return nil, fmt.Errorf("signing with %s: %w", f.alg, ctx.Err())
	}
	if a.err != nil {
		return nil, fmt.Errorf("signing with %s: %w", f.alg, a.err)
	}
	signature, err := f.convert(a.signature)
	if err != nil {
		return nil, err
	}
	if !f.verifier.Verify(input, signature) {
		return nil, fmt.Errorf("%w: the signer returned what is no %s signature of its key", ErrKey, f.alg)
	}
	return signature, nil
}

// request returns what [crypto.Signer.Sign] takes for the algorithm. The message is
// a copy: the call may outlive its caller.
func (f *foreign) request(input []byte) (message []byte, opts crypto.SignerOpts) {
	if f.scheme.family == eddsa {
		return slices.Clone(input), crypto.Hash(0)
	}
	digest := slices.Clone(sum(f.scheme.hash, new([sha512.Size]byte), input))
	if f.scheme.family == rsaPSS {
		return digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: f.scheme.hash} // RFC 7518 section 3.5
	}
	return digest, f.scheme.hash
}

// convert turns the DER of an ECDSA signature into r ‖ s (RFC 7518 section 3.4).
func (f *foreign) convert(signature []byte) ([]byte, error) {
	if f.scheme.family != ecdsaFamily {
		return signature, nil
	}
	var n struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &n)
	bits := f.scheme.size * 8
	if err != nil || len(rest) > 0 || n.R.Sign() <= 0 || n.S.Sign() <= 0 || n.R.BitLen() > bits || n.S.BitLen() > bits {
		return nil, fmt.Errorf("%w: the signer returned no DER of an %s signature", ErrKey, f.alg)
	}
	out := make([]byte, 2*f.scheme.size)
	n.R.FillBytes(out[:f.scheme.size])
	n.S.FillBytes(out[f.scheme.size:])
	return out, nil
}
