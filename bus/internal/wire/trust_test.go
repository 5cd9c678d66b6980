package wire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// The signature of a fixed event by a fixed key, for implementations in other
// languages. docs/trust.md shows it.
const (
	vectorPublic  = "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik" // of the seed of 32 zero bytes
	vectorPayload = `{"v":1,"id":"one","iss":"https://auth.example.com","kind":"subject","value":"user-1","before":1767225600000,"until":1767229200000}`
	vectorHeader  = "E545QOZLVJFyIIjZ.Fn3k7selMWHqhuy-1ogbly2sM317YiLICjCvDl_GwZG6x6w3AGLQKONpC7ANCDVfAX0NMfdi9VE-sEAkBelaDw"
)

func vectorKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
}

// One bit, anywhere, and it does not count. Kinds whose values nobody guesses need none.
func TestTrustAccepts(t *testing.T) {
	old, key, other := vectorKey(), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	tr, err := NewTrust([]ed25519.PublicKey{public(old), public(key)})
	if err != nil {
		t.Fatal(err)
	}
	event := func(kind revoke.Kind, value string) revoke.Event {
		e := revoke.Event{Issuer: testIssuer, Kind: kind, Value: value, Until: at(testMillis + 3600_000)}
		if kind.Cutoff() {
			e.Before = at(testMillis)
		}
		return e
	}
	message := func(k ed25519.PrivateKey, e revoke.Event) *nats.Msg {
		t.Helper()
		payload, err := EncodeEvent(&e)
		if err != nil {
			t.Fatal(err)
		}
		m := &nats.Msg{Subject: Subject(e.Issuer, e.Kind), Data: payload}
		if k != nil {
			s, err := NewSigner(k)
			if err != nil {
				t.Fatal(err)
			}
			header, err := s.Sign(t.Context(), m.Subject, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			m.Header = nats.Header{SignatureHeader: {header}}
		}
		return m
	}
	accepts := func(m *nats.Msg) bool {
		msg, fault := decode(m.Subject, m.Data)
		return fault == 0 && tr.Accepts(m, &msg.Event)
	}
	mass := 0
	for kind := revoke.KindToken; kind <= revoke.KindIssuer; kind++ {
		value := "v"
		switch kind {
		case revoke.KindKey:
			value = thumbprint
		case revoke.KindIssuer:
			value = ""
		}
		e := event(kind, value)
		for _, k := range []ed25519.PrivateKey{old, key} {
			if !accepts(message(k, e)) {
				t.Errorf("%s: signed by a trusted key, and not accepted", kind)
			}
		}
		if accepts(message(nil, e)) != !kind.Mass() || accepts(message(other, e)) != !kind.Mass() {
			t.Errorf("%s: unsigned or signed by another, accepted %t", kind, kind.Mass())
		}
		if !kind.Mass() {
			continue
		}
		mass++
		// What leaves its times to the moment of storing could be stored again.
		e.Until = time.Time{}
		if accepts(message(key, e)) || tr.Lacks(&e) != "until" {
			t.Errorf("%s: accepted without until", kind)
		}
		if e = event(kind, value); kind.Cutoff() {
			e.Before = time.Time{}
			if accepts(message(key, e)) || tr.Lacks(&e) != "before" {
				t.Errorf("%s: accepted without before", kind)
			}
		}
	}
	if mass != 5 {
		t.Fatalf("%d mass kinds", mass)
	}

	good := message(key, event(revoke.KindSubject, "user-1"))
	e := event(revoke.KindSubject, "user-1")
	for i := range good.Data {
		for bit := range 8 {
			m := &nats.Msg{Subject: good.Subject, Data: bytes.Clone(good.Data), Header: good.Header}
			m.Data[i] ^= 1 << bit
			if tr.Accepts(m, &e) {
				t.Fatalf("accepted with bit %d of byte %d of the payload flipped", bit, i)
			}
		}
	}
	if moved := (&nats.Msg{Subject: Subject("https://other.example.com", revoke.KindSubject), Data: good.Data, Header: good.Header}); tr.Accepts(moved, &e) {
		t.Error("accepted on another subject")
	}
	value := good.Header.Get(SignatureHeader)
	for name, header := range map[string]nats.Header{
		"none": nil, "empty": {SignatureHeader: {""}}, "twice": {SignatureHeader: {value, value}}, "another name": {strings.ToLower(SignatureHeader): {value}},
		"longer": {SignatureHeader: {value + "A"}}, "padded": {SignatureHeader: {value + "="}}, "line break": {SignatureHeader: {value[:40] + "\n" + value[41:]}},
		"huge": {SignatureHeader: {strings.Repeat("A", 1<<20)}}, "no dot": {SignatureHeader: {strings.Replace(value, ".", "A", 1)}},
		"another key's id": {SignatureHeader: {keyID(public(old)) + value[16:]}}, "unknown id": {SignatureHeader: {keyID(public(other)) + value[16:]}},
	} {
		if m := (&nats.Msg{Subject: good.Subject, Data: good.Data, Header: header}); tr.Accepts(m, &e) {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range value {
		b := []byte(value)
		if b[i]++; b[i] == '.'+1 || b[i] == '9'+1 || b[i] == 'z'+1 || b[i] == 'Z'+1 {
			b[i] = 'A'
		}
		if string(b) == value {
			continue
		}
		if m := (&nats.Msg{Subject: good.Subject, Data: good.Data, Header: nats.Header{SignatureHeader: {string(b)}}}); tr.Accepts(m, &e) {
			t.Fatalf("accepted with character %d of the header changed", i)
		}
	}
	if !accepts(good) {
		t.Fatal("the good one is not accepted")
	}

	// The key is exchanged: what the old one signed does not count any more.
	if tr, err = NewTrust([]ed25519.PublicKey{public(key)}); err != nil {
		t.Fatal(err)
	}
	if accepts(message(old, event(revoke.KindSubject, "u"))) || !accepts(message(key, event(revoke.KindSubject, "u"))) {
		t.Error("a key that was removed counts, or the one that is left does not")
	}
	tr = nil
	if !accepts(message(nil, event(revoke.KindSubject, "u"))) {
		t.Error("no Trust, and a signature is asked for")
	}
}

func TestTrustConfig(t *testing.T) {
	good := vectorKey().Public().(ed25519.PublicKey)
	low, _ := base64.RawURLEncoding.DecodeString("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")      // the identity
	eight, _ := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a") // of order 8
	for name, keys := range map[string][]ed25519.PublicKey{
		"empty": {}, "short": {good[:31]}, "nil": {nil}, "twice": {good, good}, "zeros": {make([]byte, 32)}, "identity": {low}, "order 8": {good, eight},
		"many": make([]ed25519.PublicKey, 17),
	} {
		if _, err := NewTrust(keys); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	tr, err := NewTrust([]ed25519.PublicKey{good})
	if err != nil || len(tr) != 1 {
		t.Errorf("the good twin: %v", err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ECDSA": ec, "short": ed25519.PrivateKey("short")} {
		if _, err := NewSigner(key); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// BenchmarkTrust is what a signed event costs a follower beside decoding it.
func BenchmarkTrust(b *testing.B) {
	tr, err := NewTrust([]ed25519.PublicKey{vectorKey().Public().(ed25519.PublicKey)})
	if err != nil {
		b.Fatal(err)
	}
	m := &nats.Msg{Subject: testSubject, Data: []byte(vectorPayload), Header: nats.Header{SignatureHeader: {vectorHeader}}}
	msg, _ := decode(m.Subject, m.Data)
	for b.Loop() {
		if !tr.Accepts(m, &msg.Event) {
			b.Fatal("not accepted")
		}
	}
}
