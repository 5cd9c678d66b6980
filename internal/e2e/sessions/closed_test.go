package sessions_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
)

// A connection that its owner has closed says nothing about sessions: nobody is told to
// log in again, and nobody waits for what will not come.
func TestStoreOnClosedConnection(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
	for name, end := range map[string]func(*nats.Conn) error{
		"closed":  func(nc *nats.Conn) error { nc.Close(); return nil },
		"drained": (*nats.Conn).Drain,
	} {
		t.Run(name, func(t *testing.T) {
			nc := rig.StoreConnection(t, br.URL())
			w := newTwin(t, func() refresh.Store { return rig.OpenStore(t, nc) })
			g := w.login(t, "user-"+name)
			if err := end(nc); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, "the connection is closed", nc.IsClosed)
			m := w.managers[1]
			for call, do := range map[string]func(context.Context) error{
				"Refresh": func(ctx context.Context) error {
					_, err := m.Refresh(ctx, refresh.Request{Token: g.RefreshToken(), Client: "web"})
					return err
				},
				"Logout":    func(ctx context.Context) error { return m.Logout(ctx, g.SessionID) },
				"LogoutAll": func(ctx context.Context) error { _, err := m.LogoutAll(ctx, g.Subject); return err },
				"Sessions":  func(ctx context.Context) error { _, err := m.Sessions(ctx, g.Subject); return err },
				"Login": func(ctx context.Context) error {
					_, err := m.Login(ctx, refresh.Login{Subject: "other", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()})
					return err
				},
			} {
				ctx := rig.Within(t)
				err := do(ctx)
				if !errors.Is(err, refresh.ErrStore) || !errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, refresh.ErrLoginAgain) || errors.Is(err, refresh.ErrConflict) {
					t.Errorf("%s: %v", call, err)
				}
				if ctx.Err() != nil {
					t.Errorf("%s waited until it was given up", call)
				}
			}
		})
	}
}
