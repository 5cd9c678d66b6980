package natskv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/natsconn"
	"github.com/hybridtoken/hybridtoken/internal/pause"
)

// attemptTimeout is how long an answer is waited for before the request is sent
// again: one that reached a dying server, or one that is no longer or not yet leader,
// is never answered.
const attemptTimeout = 2 * time.Second

// Pauses between attempts.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// errLost ends a request whose connection was lost while it was under way.
var errLost = errors.New("connection lost before the answer")

// attempt bounds one request by attemptTimeout, and by the life of the connection: what
// has not been answered when that is lost hardly will be over the next, and the time that
// a caller has is often shorter than attemptTimeout.
func attempt(ctx context.Context, nc *nats.Conn, request func(context.Context) error) error {
	return natsconn.Attempt(ctx, nc, attemptTimeout, errLost, request)
}

// persist repeats a request that does no harm when repeated until it is answered.
func persist(ctx context.Context, nc *nats.Conn, request func(context.Context) error) error {
	var p pauses
	for {
		err := attempt(ctx, nc, request)
		if err == nil || final(err) {
			return bucketError(err)
		}
		if ended := p.wait(ctx); ended != nil {
			return gaveUp(ended, err)
		}
	}
}

// gaveUp is the error of a caller whose time is over, and of the last attempt. Of a
// connection that is down the client library says only that its buffer, of which there is
// none, is full.
func gaveUp(ended, last error) error {
	if errors.Is(last, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("%w (last: not connected to the NATS server: %w)", ended, last)
	}
	return fmt.Errorf("%w (last: %w)", ended, last)
}

// A pauses is a series of growing pauses.
type pauses struct{ n int }

// wait pauses. The error is ctx's.
func (p *pauses) wait(ctx context.Context) error {
	d := pause.Growing(firstPause, maxPause, p.n)
	p.n++
	if pause.Wait(ctx, pause.Between(d/2, d)) != nil {
		return ctx.Err()
	}
	return nil
}

// final reports whether the same request would fail again.
func final(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) || errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return false // what the client library makes of "nobody answers"
	}
	return jsadmin.Code(err) != 0 && !jsadmin.IsElecting(err)
}

// unsent reports whether a request that failed so has reached nobody.
func unsent(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

// bucketError puts an error of the client library into the families of this package.
func bucketError(err error) error {
	switch {
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamNotFound):
		return fmt.Errorf("%w: %w", ErrNoBucket, err)
	case jsadmin.IsFull(err):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
