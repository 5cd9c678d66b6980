package natsconn

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// Attempt makes one request over nc, bounded by timeout and by the life of the connection:
// what has not been answered when that is lost hardly will be over the next, and the time
// that a caller has is often shorter than timeout. It returns lost, as it is, then.
func Attempt(ctx context.Context, nc *nats.Conn, timeout time.Duration, lost error, request func(context.Context) error) error {
	broke := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer nc.RemoveStatusListener(broke)
	return WhileConnected(ctx, timeout, broke, lost, request)
}

// WhileConnected is [Attempt] where broke tells that the connection is lost.
func WhileConnected(ctx context.Context, timeout time.Duration, broke <-chan nats.Status, lost error, request func(context.Context) error) error {
	ctx, release := context.WithTimeout(ctx, timeout)
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-broke:
			cancel(lost)
		case <-ctx.Done():
		}
	}()
	err := request(ctx)
	cancel(nil)
	<-watched
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == lost {
		return lost
	}
	return err
}
