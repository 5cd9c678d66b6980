package transport

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultTimeout bounds a call whose context has no deadline. It outlasts the
// election after an unclean loss of the stream's leader, 4 to 9 s.
const DefaultTimeout = 15 * time.Second

func WithDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// AttemptTimeout bounds one try of a request that is made again.
const AttemptTimeout = 2 * time.Second

// IsAPI reports whether the server has refused something.
func IsAPI(err error) bool {
	_, ok := errors.AsType[*jetstream.APIError](err)
	return ok
}
