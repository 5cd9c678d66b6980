package natskv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// attemptTimeout is how long an answer is waited for before the request is sent
// again: one that reached a dying server, or one that is no longer or not yet leader,
// is never answered.
const attemptTimeout = 2 * time.Second

// Pauses between attempts.
const (
	minPause = 5 * time.Millisecond
	maxPause = 250 * time.Millisecond
)

// Error codes of the server that the client library does not name.
const (
	errCodeNotAvailable    jetstream.ErrorCode = 10008 // no leader
	errCodeNotClustered    jetstream.ErrorCode = 10074 // replicas > 1 in non-clustered mode
	errCodeStoreFailed     jetstream.ErrorCode = 10077 // "maximum bytes exceeded" and its like
	errCodeStorageExceeded jetstream.ErrorCode = 10047
	errCodeNoResources     jetstream.ErrorCode = 10023
	errCodePeerOffline     jetstream.ErrorCode = 10118 // the stream is offline
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
			return fmt.Errorf("%w (last: %w)", ended, err)
		}
	}
}

// A pauses is a series of growing pauses.
type pauses struct{ next time.Duration }

// wait pauses. The error is ctx's.
func (p *pauses) wait(ctx context.Context) error {
	p.next = min(max(2*p.next, minPause), maxPause)
	t := time.NewTimer(p.next/2 + rand.N(p.next/2))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// final reports whether the same request would fail again.
func final(err error) bool {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrConnectionDraining) || errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
		return false // what the client library makes of "nobody answers"
	}
	code := errorCode(err)
	return code != 0 && code != errCodeNotAvailable && code != errCodePeerOffline
}

// unsent reports whether a request that failed so has reached nobody.
func unsent(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded)
}

func isCode(err error, codes ...jetstream.ErrorCode) bool {
	return slices.Contains(codes, errorCode(err))
}

// errorCode is the code of the server's answer; zero if err is none.
func errorCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// bucketError puts an error of the client library into the families of this package.
func bucketError(err error) error {
	switch {
	case isCode(err, jetstream.JSErrCodeStreamNotFound):
		return fmt.Errorf("%w: %w", ErrNoBucket, err)
	case isCode(err, errCodeStoreFailed, errCodeStorageExceeded, errCodeNoResources):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
