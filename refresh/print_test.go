package refresh_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// TestNothingPrintsASecret prints every exported type in every way, while sessions are
// refreshed, and looks for the tokens and for what the store holds of them (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	s := newSystem(t)
	g := s.refresh(t, s.login(t))
	offered := s.login(t, offering)
	authorization, _ := offered.DeviceOffer()
	b, used := s.bind(t)
	proof := b.next()
	memory := refresh.NewMemoryStore()
	const stored = "what a record of the store holds"
	if _, err := memory.Save(t.Context(), "k", []byte(stored), 0, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	table := map[string]any{
		"Grant": g, "Manager": s.Manager, "MemoryStore": memory, "Store": refresh.Store(memory), "Record": refresh.Record{Value: []byte(stored), Revision: 1},
		"ManagerStatus": s.Status(), "Config": refresh.Config{Store: memory}, "Request": refresh.Request{Token: g.RefreshToken(), Client: "web"},
		"DeviceProof": proof,
	}
	// These hold what the application knows of its users, or is sent to anyone who asks, and
	// no secret.
	without := []string{"Answer", "ChallengeError", "Device", "Lifetimes", "Login", "LogoutAllOption", "Outcomes", "PendingStatus", "Publisher", "Session", "StoreFill"}
	printtest.HoldsAll(t, ".", table, without...)
	table["Grant of a login that is to be bound"], table["Grant of a bound session"] = offered, used
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			memory.Save(context.Background(), "other", []byte(stored), 0, time.Now().Add(time.Hour))
			s.Sessions(context.Background(), g.Subject)
		}
	})
	raw := strings.TrimPrefix(g.RefreshToken(), "htr1_")
	secrets := map[string][]byte{
		"refresh token": []byte(g.RefreshToken()), "family secret": []byte(raw[33:74]), "generation secret": []byte(raw[76:]),
		"access token": []byte(g.AccessToken()), "record": []byte(stored),
		"authorization": []byte(authorization), "proof": []byte(proof.Proof), "refresh token of a bound session": []byte(proof.Token), "id of a bound session": []byte(b.id),
	}
	for name, v := range table {
		out := printtest.Prints(v)
		for secret, raw := range secrets {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				if name == "Record" && secret == "record" && strings.HasPrefix(found[len(found)-1], "base64") {
					continue // JSON of a Record is what a Store over JSON would write
				}
				t.Errorf("%s shows the %s: %q", name, secret, found)
			}
		}
	}
	close(stop)
	wg.Wait()
	for secret, raw := range secrets {
		if found := printtest.Leaks(printtest.Hidden(offered)+printtest.Hidden(used), printtest.Forms(raw)); len(found) > 0 {
			t.Errorf("a hidden Grant shows the %s: %q", secret, found)
		}
		if found := printtest.Leaks(printtest.Hidden(g), printtest.Forms(raw)); len(found) > 0 {
			t.Errorf("a hidden Grant shows the %s: %q", secret, found)
		}
	}
}
