package publish

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// A request whose connection is lost is not waited for any longer: nobody answers it over
// the next one. What the caller or the server says counts as before.
func TestConnectionLost(t *testing.T) {
	refusal := &jetstream.APIError{ErrorCode: jsadmin.CodeStoreFailed}
	for name, c := range map[string]struct {
		lost   bool // while the request is under way
		answer error
		want   error
		after  time.Duration
	}{
		"lost":              {true, nil, transport.ErrDisconnected, time.Millisecond},
		"lost and answered": {true, refusal, refusal, time.Millisecond},
		"no answer":         {false, nil, context.DeadlineExceeded, transport.AttemptTimeout},
		"answered":          {false, refusal, refusal, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lost := make(chan nats.Status, 1)
				began := time.Now()
				err := natsconn.WhileConnected(t.Context(), transport.AttemptTimeout, lost, transport.ErrDisconnected, func(ctx context.Context) error {
					time.Sleep(time.Millisecond)
					if c.lost {
						lost <- nats.RECONNECTING
					}
					if c.answer != nil {
						return c.answer
					}
					<-ctx.Done()
					return ctx.Err()
				})
				if !errors.Is(err, c.want) || time.Since(began) != c.after {
					t.Errorf("%v after %s, want %v after %s", err, time.Since(began), c.want, c.after)
				}
				if err == transport.ErrDisconnected && final(err) {
					t.Error("it is not sent again")
				}
			})
		})
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := natsconn.WhileConnected(gone, transport.AttemptTimeout, nil, transport.ErrDisconnected, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller has gone: %v", err)
	}
}
