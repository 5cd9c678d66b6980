package e2e_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who cannot connect is told why, by the status, in the log, once, and by whatever was
// asked for: the client library goes on trying and says nothing.
func TestWhyNotConnected(t *testing.T) {
	const secret = "not-the-password"
	br := newBroker(t, guarded)
	createStream(t, dial(t, br.url(), as("admin")...), bus.StreamConfig{})
	gone := newBroker(t, nil)
	gone.stop()
	for name, c := range map[string]struct {
		url, want, logged string
		opts              []nats.Option
	}{
		"wrong password": {br.url(), "authorization violation", "uthorization ", []nats.Option{nats.UserInfo("member", secret)}},
		"nobody listens": {gone.url(), "connection refused", "connection refused", nil},
		"no TLS there":   {strings.Replace(br.url(), "nats:", "tls:", 1), "secure connection not available", "secure connection not available", as("member")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, c.url, c.opts...)
			var log journal
			b := join(t, conn, bus.Config{Logger: log.logger()}, newList(t, quick))
			says := func(err error) bool {
				return err != nil && strings.Contains(strings.ToLower(err.Error()), c.want) && !strings.Contains(err.Error(), secret)
			}
			eventually(t, "the status says why", func() bool { return says(b.Status().Err) })
			eventually(t, "the log says why", func() bool { return log.count("not following", c.logged) == 1 })
			if s := b.Status(); s.Reason != revoke.ReasonConnecting {
				t.Errorf("%+v", s)
			}
			// A call whose time ends just while an attempt to connect is made knows no reason.
			askUntil(t, "Publish says why", func(ctx context.Context) error {
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
			if log.count(secret) != 0 || log.count("not following", c.logged) != 1 {
				t.Error("the password is in the log, or the same again and again")
			}
		})
	}
}

// CreateStream waits for a connection, and says at once what it may not do.
func TestCreateStreamSoonOrNever(t *testing.T) {
	t.Parallel()
	br := newBroker(t, guarded)
	err := bus.CreateStream(within(t), connection(t, dial(t, br.url(), as("member")...)), bus.StreamConfig{Replicas: 1})
	if err == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a member creates a stream: %v", err)
	}
	br.stop()
	conn := connection(t, dial(t, br.url(), as("admin")...))
	done := make(chan error, 1)
	go func() { done <- bus.CreateStream(within(t), conn, bus.StreamConfig{Replicas: 1}) }()
	eventually(t, "it cannot connect", func() bool { return !conn.IsConnected() })
	br.start()
	if err := <-done; err != nil {
		t.Errorf("before there is a server: %v", err)
	}
}
