package member_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who cannot connect is told why, by the status, in the log, once, and by whatever was
// asked for: the client library goes on trying and says nothing.
func TestWhyNotConnected(t *testing.T) {
	const secret = "not-the-password"
	br := rig.NewBroker(t, rig.Guarded)
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.As("admin")...), bus.StreamConfig{})
	gone := rig.NewBroker(t, nil)
	gone.Stop()
	for name, c := range map[string]struct {
		url, want, logged string
		opts              []nats.Option
	}{
		"wrong password": {br.URL(), "authorization violation", "uthorization ", []nats.Option{nats.UserInfo("member", secret)}},
		"nobody listens": {gone.URL(), "connection refused", "connection refused", nil},
		"no TLS there":   {strings.Replace(br.URL(), "nats:", "tls:", 1), "secure connection not available", "secure connection not available", rig.As("member")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := rig.Dial(t, c.url, c.opts...)
			var log rig.Journal
			b := rig.Join(t, conn, bus.Config{Logger: log.Logger()}, rig.NewList(t, rig.Quick))
			says := func(err error) bool {
				return err != nil && strings.Contains(strings.ToLower(err.Error()), c.want) && !strings.Contains(err.Error(), secret)
			}
			rig.Eventually(t, "the status says why", func() bool { return says(b.Status().Err) })
			rig.Eventually(t, "the log says why", func() bool { return log.Count("not following", c.logged) == 1 })
			if s := b.Status(); s.Reason != revoke.ReasonConnecting {
				t.Errorf("%+v", s)
			}
			// A call whose time ends just while an attempt to connect is made knows no reason.
			rig.AskUntil(t, "Publish says why", func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				defer cancel()
				_, err := b.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "one"})
				if !errors.Is(err, bus.ErrNotAcknowledged) {
					t.Fatalf("Publish: %v", err)
				}
				if !says(err) {
					return err
				}
				return nil
			})
			if log.Count(secret) != 0 || log.Count("not following", c.logged) != 1 {
				t.Error("the password is in the log, or the same again and again")
			}
		})
	}
}

// CreateStream waits for a connection, and says at once what it may not do.
func TestCreateStreamSoonOrNever(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, rig.Guarded)
	err := bus.CreateStream(rig.Within(t), rig.Connection(t, rig.Dial(t, br.URL(), rig.As("member")...)), bus.StreamConfig{Replicas: 1})
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a member creates a stream: %v", err)
	}
	br.Stop()
	conn := rig.Connection(t, rig.Dial(t, br.URL(), rig.As("admin")...))
	done := make(chan error, 1)
	go func() { done <- bus.CreateStream(rig.Within(t), conn, bus.StreamConfig{Replicas: 1}) }()
	rig.Eventually(t, "it cannot connect", func() bool { return !conn.IsConnected() })
	br.Start()
	if err := <-done; err != nil {
		t.Errorf("before there is a server: %v", err)
	}
}
