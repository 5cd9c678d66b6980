package publish

import (
	"crypto"
	"crypto/ed25519"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

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
		payload, err := wire.EncodeEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		rec := &record{subject: wire.Subject(e.Issuer, e.Kind), payload: payload, gone: e.Until}
		switch {
		case key != nil:
			s, err := wire.NewSigner(key)
			if err == nil {
				rec.signature, err = s.Sign(t.Context(), rec.subject, payload)
			}
			if err != nil {
				t.Fatal(err)
			}
		case value == "garbage":
			rec.signature = "x"
		}
		if err := o.put(time.Now(), rec); err != nil {
			t.Fatal(err)
		}
	}
	o.close()

	p := newTestPublisher()
	p.issuers = []string{testIssuer}
	if p.signer, err = wire.NewSigner(vectorKey()); err != nil {
		t.Fatal(err)
	}
	if p.trust, err = wire.NewTrust([]ed25519.PublicKey{vectorKey().Public().(ed25519.PublicKey), trusted.Public().(ed25519.PublicKey)}); err != nil {
		t.Fatal(err)
	}
	if err := p.unpack(path); err != nil {
		t.Fatal(err)
	}
	defer p.outbox.close()
	only := wire.Trust(nil).With(p.signer)
	for _, rec := range p.ledger.alive {
		old := rec.signature
		if err := p.renew(t.Context(), rec, time.Now()); err != nil {
			t.Fatal(err)
		}
		msg, _ := decode(rec.subject, rec.payload)
		m := &nats.Msg{Subject: rec.subject, Data: rec.payload, Header: nats.Header{wire.SignatureHeader: {rec.signature}}}
		value := msg.Event.Value
		if good := value == "own" || value == "trusted"; only.Verifies(m) != good {
			t.Errorf("%s: signed by our key: %t", value, !good)
		} else if !good && rec.signature != old {
			t.Errorf("%s: the signature was changed", value)
		}
	}
}
