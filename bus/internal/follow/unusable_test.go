package follow

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What cannot be applied is counted by its fault, and what comes behind it is applied. A
// mark as critical counts only from who may make this List stale: the issuers that its
// verifiers name and, where signatures are demanded, who signs.
func TestUnusableRecords(t *testing.T) {
	const other = "https://other.example.com"
	signer, err := wire.NewSigner(vectorKey())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := wire.NewTrust([]ed25519.PublicKey{vectorKey().Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	toCome := func(iss, critical string) string {
		return fmt.Sprintf(`{"v":2,"critical":%s,"iss":%q,"kind":"session","value":"x"}`, critical, iss)
	}
	for name, c := range map[string]struct {
		iss, data    string
		trust, signs bool
		want         revoke.Fault
	}{
		"no JSON":              {testIssuer, "{", false, false, revoke.FaultMalformed},
		"a version to come":    {testIssuer, toCome(testIssuer, "false"), false, false, revoke.FaultVersion},
		"critical":             {testIssuer, toCome(testIssuer, "true"), false, false, revoke.FaultCritical},
		"another's":            {other, toCome(other, "true"), false, false, revoke.FaultVersion},
		"critical, signed":     {testIssuer, toCome(testIssuer, "true"), true, true, revoke.FaultCritical},
		"critical, not signed": {testIssuer, toCome(testIssuer, "true"), true, false, revoke.FaultUnsigned},
		"not signed":           {testIssuer, fmt.Sprintf(`{"v":1,"iss":%q,"kind":"session","value":"x"}`, testIssuer), true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newTestFollower(t)
			f.list.ExpectIssuer(testIssuer)
			if c.trust {
				f.cfg.Trust = trust
			}
			bad := delivery(stream.DefaultName, "own", 1, "")
			bad.Subject, bad.Data = wire.Subject(c.iss, revoke.KindSession), []byte(c.data)
			if c.signs {
				signature, err := signer.Sign(t.Context(), bad.Subject, bad.Data)
				if err != nil {
					t.Fatal(err)
				}
				bad.Header = map[string][]string{wire.SignatureHeader: {signature}}
			}
			if _, _, err := f.take(revoke.Now(), s, bad); err != nil {
				t.Fatal(err)
			}
			if _, _, err := f.take(revoke.Now(), s, delivery(stream.DefaultName, "own", 2, "next")); err != nil {
				t.Fatal(err)
			}
			stats := f.list.Stats(revoke.Now())
			for fault := revoke.FaultMalformed; fault <= revoke.FaultUnsigned; fault++ {
				if n := stats.Faults[fault]; (n == 1) != (fault == c.want) || n > 1 {
					t.Errorf("%d faults %s, want fault %s", n, fault, c.want)
				}
			}
			if err := f.list.Check(revoke.Now(), &revoke.Identity{Issuer: testIssuer, Token: "t", Session: "next", IssuedAt: time.Now()}, revoke.InsecureAllow()); err == nil {
				t.Error("what came behind it does not count")
			}
		})
	}
}
