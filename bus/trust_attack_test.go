package bus

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
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
	s, err := newSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.sign(t.Context(), "s", []byte("p")); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	key.key = ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 9))
	if got, err := s.sign(t.Context(), "s", []byte("p")); err == nil {
		t.Errorf("signed by another key than the one that it names: %s", got)
	}
}

type panicking struct{ kms }

func (panicking) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { panic("secret") }

// A Signer that panics costs the call and not the process, whose recover cannot reach it,
// and what it panicked with, which nobody knows, is in no error.
func TestSignerPanics(t *testing.T) {
	s, err := newSigner(panicking{kms{PrivateKey: vectorKey()}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.sign(t.Context(), "s", []byte("p")); err == nil || got != "" || strings.Contains(err.Error(), "secret") {
		t.Errorf("%q, %v", got, err)
	}
}

// A Signer that hangs holds a bounded number of goroutines, and those who wait are told
// in time; when it goes on, so do they.
func TestSignerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		s, err := newSigner(kms{PrivateKey: vectorKey(), wait: wait})
		if err != nil {
			t.Fatal(err)
		}
		before := runtime.NumGoroutine()
		for range 3 * maxSigning {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := s.sign(ctx, "s", []byte("p"))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if n := runtime.NumGoroutine() - before; n > maxSigning+10 {
			t.Errorf("%d goroutines wait for the Signer", n)
		}
		close(wait)
		if _, err := s.sign(t.Context(), "s", []byte("p")); err != nil {
			t.Error(err)
		}
	})
}

// Who can write the outbox file cannot have events signed: what it holds is signed anew
// only if it was signed by the Signer's key or a trusted one, and otherwise published as
// it stands, for replicas to judge.
func TestOutboxIsNoOracle(t *testing.T) {
	trusted := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 1))
	stranger := ed25519.NewKeyFromSeed(append(make([]byte, ed25519.SeedSize-1), 2))
	path := filepath.Join(t.TempDir(), "outbox")
	o, _, _, err := openOutbox(path, testIssuer)
	if err != nil {
		t.Fatal(err)
	}
	signers := map[string]crypto.Signer{"own": vectorKey(), "trusted": trusted, "stranger": stranger, "garbage": nil, "none": nil}
	for value, key := range signers {
		e := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSubject, Value: value, Before: time.Now(), Until: time.Now().Add(time.Hour), At: time.Now().Add(-time.Minute)}
		payload, err := encodeEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		rec := &record{subject: Subject(e.Issuer, e.Kind), payload: payload, gone: e.Until}
		switch {
		case key != nil:
			s, err := newSigner(key)
			if err == nil {
				rec.signature, err = s.sign(t.Context(), rec.subject, payload)
			}
			if err != nil {
				t.Fatal(err)
			}
		case value == "garbage":
			rec.signature = "x"
		}
		if err := o.put(rec); err != nil {
			t.Fatal(err)
		}
	}
	o.close()

	p := newTestPublisher()
	p.b.cfg.Issuers = []string{testIssuer}
	if p.b.signer, err = newSigner(vectorKey()); err != nil {
		t.Fatal(err)
	}
	if p.b.trust, err = newTrust([]ed25519.PublicKey{vectorKey().Public().(ed25519.PublicKey), trusted.Public().(ed25519.PublicKey)}); err != nil {
		t.Fatal(err)
	}
	p.b.closed = true // nothing in the background
	if err := p.unpack(path); err != nil {
		t.Fatal(err)
	}
	defer p.outbox.close()
	only := trust{keyNumberOf(p.b.signer.public): p.b.signer.public}
	for _, rec := range p.ledger.alive {
		old := rec.signature
		if err := p.renew(t.Context(), rec, time.Now()); err != nil {
			t.Fatal(err)
		}
		msg, _ := decode(rec.subject, rec.payload)
		m := &nats.Msg{Subject: rec.subject, Data: rec.payload, Header: nats.Header{SignatureHeader: {rec.signature}}}
		value := msg.event.Value
		if good := value == "own" || value == "trusted"; only.verifies(m) != good {
			t.Errorf("%s: signed by our key: %t", value, !good)
		} else if !good && rec.signature != old {
			t.Errorf("%s: the signature was changed", value)
		}
	}
}
