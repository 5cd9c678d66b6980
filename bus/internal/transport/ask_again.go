package transport

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

// streamTimeout bounds one request of [CreateStream]; making a stream takes several
// servers' disks.
const streamTimeout = 3 * time.Second

// AskAgain makes a request to subject that may be made twice until it is answered or ctx
// ends: one that comes while the servers elect is refused, or is never answered at all,
// and one that comes before there is a connection is not even sent.
func (c *Connection) AskAgain(ctx context.Context, subject string, request func(context.Context, jetstream.JetStream) error) error {
	for {
		l := c.Link.Load()
		before := l.Conn.LastError()
		err := natsconn.Attempt(ctx, l.Conn, streamTimeout, ErrDisconnected, func(ctx context.Context) error { return request(ctx, l.JetStream) })
		refusal := c.refused(before, subject)
		switch {
		case err != nil && refusal != nil:
			return fmt.Errorf("%w: %w", ErrNotPermitted, refusal)
		case err != nil && !c.Over() && !c.IsConnected():
			err = c.Disconnected()
		case errors.Is(err, context.DeadlineExceeded), jsadmin.IsElecting(err):
		case errors.Is(err, ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded): // and connected again since
		default:
			return err
		}
		if pause.Wait(ctx, 250*time.Millisecond) != nil {
			return err
		}
	}
}
