package sessions_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A Member for other issuers, to the letter, or for none, is refused when the Manager is made:
// logins would succeed, and no logout would ever be told.
func TestManagerRefusesTheMemberOfAnotherIssuer(t *testing.T) {
	conn := rig.Dial(t, rig.NewBroker(t, nil).URL())
	rig.CreateStream(t, conn, bus.StreamConfig{Replicas: 1})
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		t.Fatal(err)
	}
	iss, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	for of, good := range map[string]bool{rig.Issuer: true, rig.Issuer + "/": false, "": false, rig.Issuer + " https://partner.example.com": true} {
		where := conn
		where.Issuers, where.List = strings.Fields(of), rig.NewList(t, rig.Quick)
		b, err := bus.Join(rig.Within(t), where)
		if err != nil {
			t.Fatal(err)
		}
		m, err := refresh.NewManager(refresh.Config{Issuer: iss, Store: refresh.NewMemoryStore(), Publisher: b, Revocations: rig.NewList(t, revoke.Config{MaxSkew: 2 * time.Second}), Lifetimes: refresh.Web})
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "Publisher publishes for issuers") {
			t.Errorf("a Member of %q: %v", of, err)
		}
		if m != nil {
			m.Close()
		}
		b.Close()
	}
}
