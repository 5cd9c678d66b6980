package wire

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A turncoat is a Signer whose key is exchanged under its user's hands.
type turncoat struct{ key ed25519.PrivateKey }

func (s *turncoat) Public() crypto.PublicKey { return s.key.Public() }

func (s *turncoat) Sign(r io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(r, message, o)
}

// Invariant 9: the key's id goes into each message, so a Signer that exchanges its key is
// an error: replicas would ignore what it signs.
func TestSignerExchangesItsKey(t *testing.T) {
	key := &turncoat{vectorKey()}
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(t.Context(), "s", []byte("p")); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	key.key = ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 9))
	if got, err := s.Sign(t.Context(), "s", []byte("p")); err == nil {
		t.Errorf("signed by another key than the one that it names: %s", got)
	}
}

type panicking struct{ kms }

func (panicking) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { panic("secret") }

// A Signer that panics costs the call and not the process, whose recover cannot reach it,
// and what it panicked with, which nobody knows, is in no error.
func TestSignerPanics(t *testing.T) {
	s, err := NewSigner(panicking{kms{PrivateKey: vectorKey()}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Sign(t.Context(), "s", []byte("p")); err == nil || got != "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("%q, %v", got, err)
	}
}

// A Signer that hangs holds a bounded number of goroutines, and those who wait are told
// in time; when it goes on, so do they.
func TestSignerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		s, err := NewSigner(kms{PrivateKey: vectorKey(), wait: wait})
		if err != nil {
			t.Fatal(err)
		}
		before := runtime.NumGoroutine()
		for range 3 * maxSigning {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := s.Sign(ctx, "s", []byte("p"))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if n := runtime.NumGoroutine() - before; n > maxSigning+10 {
			t.Errorf("%d goroutines wait for the Signer", n)
		}
		close(wait)
		if _, err := s.Sign(t.Context(), "s", []byte("p")); err != nil {
			t.Error(err)
		}
	})
}

// A kms is a Signer as it may behave.
type kms struct {
	ed25519.PrivateKey
	wait  chan struct{} // until the answer; nil: none
	wrong bool
	err   error
}

func (k kms) Sign(r io.Reader, message []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.wait != nil {
		<-k.wait
	}
	if k.wrong {
		message = append([]byte("x"), message...)
	}
	if k.err != nil {
		return nil, k.err
	}
	return k.PrivateKey.Sign(r, message, o)
}

func TestSignerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no KMS")
		wait := make(chan struct{})
		defer close(wait)
		for name, c := range map[string]struct {
			key  kms
			want error
		}{
			"slow":  {kms{PrivateKey: vectorKey(), wait: wait}, context.DeadlineExceeded},
			"down":  {kms{PrivateKey: vectorKey(), err: down}, down},
			"wrong": {kms{PrivateKey: vectorKey(), wrong: true}, nil},
			"good":  {kms{PrivateKey: vectorKey()}, nil},
		} {
			s, err := NewSigner(c.key)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := s.Sign(ctx, "s", []byte("p"))
			cancel()
			if (err == nil) != (name == "good") || c.want != nil && !errors.Is(err, c.want) || (got == "") == (err == nil) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}
