package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// ErrEnded means that a link has ended for good while it was used.
var ErrEnded = errors.New("the connection was ended")

// Attempt makes one request over l, and returns [ErrDisconnected] if the connection is lost
// before it is answered, [ErrEnded] if the link is. It does not outlast ctx, see [Within]:
// what request returns must be all that it writes.
func Attempt[T any](ctx context.Context, l *Link, timeout time.Duration, request func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	r, err := Within(ctx, func() (r result) {
		r.err = natsconn.Attempt(ctx, l.Conn, timeout, ErrDisconnected, func(ctx context.Context) (err error) {
			r.value, err = request(ctx)
			return err
		})
		if r.err != nil && !IsAPI(r.err) && l.Conn.IsClosed() {
			if why := l.Conn.LastError(); why != nil {
				r.err = fmt.Errorf("%w: %w", r.err, why)
			}
			r.err = fmt.Errorf("%w: %w", ErrEnded, r.err)
		}
		return r
	})
	if err != nil {
		return r.value, err
	}
	return r.value, r.err
}

// Within returns what f returns, or ctx's error when that ends before. The client library
// lets nobody in while it dials, not even to give a request up, so that f may go on for a
// while after that.
func Within[T any](ctx context.Context, f func() T) (T, error) {
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case v := <-done:
		return v, nil
	case <-ctx.Done():
	}
	select {
	case v := <-done:
		return v, nil
	default:
		var none T
		return none, ctx.Err()
	}
}
