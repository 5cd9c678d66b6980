package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// attempt bounds one request by timeout, and by the life of the connection: what has not
// been answered when that is lost hardly will be over the next, and the time that a caller
// has is often shorter than timeout. It returns errDisconnected then.
func (l *link) attempt(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	lost := l.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer l.nc.RemoveStatusListener(lost)
	return whileConnected(ctx, timeout, lost, request)
}

func whileConnected(ctx context.Context, timeout time.Duration, lost <-chan nats.Status, request func(context.Context) error) error {
	ctx, release := context.WithTimeout(ctx, timeout)
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-lost:
			cancel(errDisconnected)
		case <-ctx.Done():
		}
	}()
	err := request(ctx)
	cancel(nil)
	<-watched
	if errors.Is(err, context.Canceled) && context.Cause(ctx) == errDisconnected {
		return errDisconnected
	}
	return err
}
