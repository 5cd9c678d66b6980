package sessions_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A bucket that is restored from a backup brings back a session that was logged out since. The
// instances that lived through it mint nothing until the restore is declared, and then it is over
// on every instance, as are those that are started later.
func TestRestoredBucket(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	admin, js := rig.Client(t, br.URL())
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: tokens.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuing, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	instance := func() *refresh.Manager {
		t.Helper()
		list, err := revoke.NewList(revoke.Config{Local: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := refresh.NewManager(refresh.Config{Issuer: issuing, Store: rig.OpenStore(t, rig.StoreConnection(t, br.URL())), Revocations: list, Lifetimes: refresh.Web})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	login := func(m *refresh.Manager, subject string) (*refresh.Grant, error) {
		return m.Login(rig.Within(t), refresh.Login{Subject: subject, Client: "web", Audience: []string{"api"}, AuthTime: time.Now()})
	}
	a, b := instance(), instance()
	g, err := login(a, "user-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login(b, "user-2"); err != nil {
		t.Fatal(err)
	}
	taken := time.Now()
	saved, err := rig.BackUp(rig.Within(t), admin, rig.SessionsStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Logout(rig.Within(t), g.SessionID); err != nil {
		t.Fatal(err)
	}
	refused := func(m *refresh.Manager, want error) {
		t.Helper()
		rig.AskUntil(t, want.Error(), func(ctx context.Context) error {
			_, err := m.Refresh(ctx, refresh.Request{Token: g.RefreshToken(), Client: "web"})
			if err == nil {
				t.Fatal("a session that was logged out goes on")
			}
			if !errors.Is(err, want) {
				return err
			}
			return nil
		})
	}
	refused(b, refresh.ErrEnded)
	// The instances count every ten seconds: both are to know of a count after the backup.
	rig.Eventually(t, "the store's own record is written again", func() bool {
		_, err := login(b, "user-3")
		_, other := login(a, "user-3")
		return err == nil && other == nil && time.Since(taken) > 21*time.Second
	})

	if err := js.DeleteStream(rig.Within(t), rig.SessionsStream); err != nil {
		t.Fatal(err)
	}
	if err := saved.Restore(rig.Within(t), admin, rig.SessionsStream); err != nil {
		t.Fatal(err)
	}
	refusedStore := func(m *refresh.Manager) { t.Helper(); refused(m, refresh.ErrStore) }
	rig.Eventually(t, "an instance that lived through it notices", func() bool {
		_, err := login(b, "user-4")
		return errors.Is(err, refresh.ErrStore)
	})
	refusedStore(b)
	refusedStore(instance())
	if err := b.DeclareRestore(rig.Within(t), taken); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*refresh.Manager{a, b, instance()} {
		refused(m, refresh.ErrEnded)
		fresh, err := login(m, "user-5")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Refresh(rig.Within(t), refresh.Request{Token: fresh.RefreshToken(), Client: "web"}); err != nil {
			t.Fatal(err)
		}
	}
}
