package follow

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// While keys are exchanged a member may refuse an event that others take, whose trust holds
// the new key. No snapshot is taken behind it: who starts from one would never learn of it.
func TestNoSnapshotBehindAnotherKeysEvent(t *testing.T) {
	old := vectorKey()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = 1
	fresh := ed25519.NewKeyFromSeed(seed)
	signer, err := wire.NewSigner(fresh)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := revoke.Event{ID: "e", Issuer: testIssuer, Kind: revoke.KindSubject, Value: "s", Before: now, Until: now.Add(time.Hour), At: now}
	data, err := wire.EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	subject := wire.Subject(e.Issuer, e.Kind)
	signature, err := signer.Sign(t.Context(), subject, data)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		trust         []ed25519.PublicKey
		signature     string
		taken, behind bool
	}{
		"who knows both":       {[]ed25519.PublicKey{old.Public().(ed25519.PublicKey), fresh.Public().(ed25519.PublicKey)}, signature, true, true},
		"who knows the old":    {[]ed25519.PublicKey{old.Public().(ed25519.PublicKey)}, signature, false, false},
		"not signed, nobody's": {[]ed25519.PublicKey{old.Public().(ed25519.PublicKey)}, "", false, true},
	} {
		f, s := newTestFollower(t)
		if f.cfg.Trust, err = wire.NewTrust(c.trust); err != nil {
			t.Fatal(err)
		}
		m := delivery(stream.DefaultName, "own", 1, "")
		m.Subject, m.Data = subject, data
		if c.signature != "" {
			m.Header = map[string][]string{wire.SignatureHeader: {c.signature}}
		}
		if _, _, err := f.take(revoke.Now(), s, m); err != nil {
			t.Fatal(err)
		}
		if n := f.list.Stats(revoke.Now()).Faults[revoke.FaultUnsigned]; (n == 0) != c.taken {
			t.Errorf("%s: %d events refused", name, n)
		}
		if f.complete(now) != c.behind {
			t.Errorf("%s: a snapshot behind it: %t", name, !c.behind)
		}
		if !f.complete(e.Until.Add(time.Second)) {
			t.Errorf("%s: no snapshot although it has expired", name)
		}
	}
}
