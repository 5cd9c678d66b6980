package issue_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A kms is a key that is elsewhere: it hides the type of its key, is slow, and fails
// as it is told to.
type kms struct {
	key    crypto.Signer
	before func() error
	after  func([]byte) []byte
	calls  atomic.Int64
	most   atomic.Int64
}

func (k *kms) Public() crypto.PublicKey { return k.key.Public() }

func (k *kms) Sign(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if n := k.calls.Add(1); n > k.most.Load() {
		k.most.Store(n)
	}
	defer k.calls.Add(-1)
	if k.before != nil {
		if err := k.before(); err != nil {
			return nil, err
		}
	}
	out, err := k.key.Sign(random, message, opts)
	if err == nil && k.after != nil {
		out = k.after(out)
	}
	return out, err
}

func kmsRing(t testing.TB, alg token.Algorithm, k *kms) *issue.Keyring {
	t.Helper()
	key, err := issue.NewSigningKey("kms", alg, k)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Every algorithm, with a signer whose type nobody knows: DER becomes r ‖ s, and PSS
// has the right salt, or the verifier would refuse.
func TestKMS(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	k := forge.Keys()
	for alg, key := range map[token.Algorithm]crypto.Signer{
		token.EdDSA: k.Ed, token.ES256: k.Ec, token.ES384: p384, token.ES512: p521, token.RS256: k.Rsa, token.RS384: k.Rsa, token.RS512: k.Rsa,
		token.PS256: k.Rsa, token.PS384: k.Rsa, token.PS512: k.Rsa,
	} {
		ring := kmsRing(t, alg, &kms{key: key})
		i, v := forge.NewIssuer(t, ring, nil), forge.RingVerifier(t, ring, alg)
		for range 40 { // some r and s are short
			if _, err := v.Verify(t.Context(), forge.Issue(t, i, forge.Request()).Raw()); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
		if r := forge.Serve(t, ring, "GET", nil); r.StatusCode != 200 {
			t.Errorf("%s: GET: %d", alg, r.StatusCode)
		}
	}
}

// What a KMS returns is checked, whatever it is; nothing of it is a panic.
func TestKMSReturnsRubbish(t *testing.T) {
	der := func(r, s *big.Int) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 2000)
	one, zero := big.NewInt(1), new(big.Int)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for name, out := range map[string]func([]byte) []byte{
		"nothing":        func([]byte) []byte { return nil },
		"one byte":       func([]byte) []byte { return []byte{0x30} },
		"huge":           func([]byte) []byte { return der(huge, huge) },
		"negative":       func([]byte) []byte { return der(big.NewInt(-1), one) },
		"zero":           func([]byte) []byte { return der(zero, zero) },
		"ones":           func([]byte) []byte { return der(one, one) },
		"trailing":       func(b []byte) []byte { return append(b, 0) },
		"r ‖ s":          func([]byte) []byte { return make([]byte, 64) },
		"another key":    func([]byte) []byte { b, _ := other.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); return b },
		"one bit":        func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"as it should":   nil,
		"an empty SEQ":   func([]byte) []byte { return []byte{0x30, 0} },
		"three integers": func([]byte) []byte { b, _ := asn1.Marshal([]int{1, 2, 3}); return b },
	} {
		ring := kmsRing(t, token.ES256, &kms{key: forge.Keys().Ec, after: out})
		issued, err := forge.NewIssuer(t, ring, nil).Issue(t.Context(), forge.Request())
		if good := out == nil; good != (err == nil) || !good && (issued != nil || !errors.Is(err, issue.ErrIssue)) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	// A KMS key that was made for another algorithm signs with it, whatever it is asked.
	for name, x := range map[string]struct {
		alg token.Algorithm
		key crypto.Signer
	}{
		"PKCS 1 for PSS":    {token.PS256, always{forge.Keys().Rsa, crypto.SHA256}},
		"SHA-512 for 256":   {token.RS256, always{forge.Keys().Rsa, crypto.SHA512}},
		"long salt for PSS": {token.PS256, always{forge.Keys().Rsa, &rsa.PSSOptions{SaltLength: 64, Hash: crypto.SHA256}}},
	} {
		ring := kmsRing(t, x.alg, &kms{key: x.key})
		if _, err := forge.NewIssuer(t, ring, nil).Issue(t.Context(), forge.Request()); !errors.Is(err, issue.ErrIssue) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// An always signs with the options it was made with.
type always struct {
	*rsa.PrivateKey
	opts crypto.SignerOpts
}

func (a always) Sign(random io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	if a.opts.HashFunc() == crypto.SHA512 {
		digest = append(digest, digest...)
	}
	return a.PrivateKey.Sign(random, digest, a.opts)
}

// A KMS that fails, hangs or panics costs the caller an error, in its time.
func TestKMSFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("KMS is down")
		k := &kms{key: forge.Keys().Ed}
		ring := kmsRing(t, token.EdDSA, k)
		i := forge.NewIssuer(t, ring, nil)

		k.before = func() error { return down }
		if _, err := i.Issue(t.Context(), forge.Request()); !errors.Is(err, issue.ErrIssue) || !errors.Is(err, down) || errors.Is(err, issue.ErrRequest) {
			t.Errorf("down: error %v", err)
		}
		k.before = func() error { panic("secret-in-a-panic") }
		if _, err := i.Issue(t.Context(), forge.Request()); !errors.Is(err, issue.ErrIssue) || forge.Leaks(err.Error(), "secret-in-a-panic") != "" {
			t.Errorf("panic: error %v", err)
		}

		k.before = func() error { time.Sleep(time.Minute); return nil }
		results := make(chan error, 200)
		start := time.Now()
		for range 200 { // of which 64 reach it
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := i.Issue(ctx, forge.Request())
				results <- err
			}()
		}
		for range 200 {
			if err := <-results; !errors.Is(err, issue.ErrIssue) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("slow: error %v", err)
			}
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("slow: waited %s", d)
		}
		if n := k.most.Load(); n != 64 {
			t.Errorf("slow: %d calls at once, want 64", n)
		}
		time.Sleep(time.Minute) // the calls end, and make room
		k.before = func() error { time.Sleep(time.Second); return nil }
		forge.Issue(t, i, forge.Request())
	})
}

// A key of the standard library is copied: its owner can do with it what he likes.
func TestSigningKeyIsItsOwn(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	key, err := issue.NewSigningKey("", "", private)
	if err != nil {
		t.Fatal(err)
	}
	clear(private)
	ring, err := issue.NewKeyring(issue.KeyringConfig{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forge.RingVerifier(t, ring, token.EdDSA).Verify(t.Context(), forge.Issue(t, forge.NewIssuer(t, ring, nil), forge.Request()).Raw()); err != nil {
		t.Error(err)
	}
}
