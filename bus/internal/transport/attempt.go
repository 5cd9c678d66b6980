package transport

import (
	"context"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// Attempt makes one request, and returns errDisconnected if the connection is lost before
// it is answered.
func (l *Link) Attempt(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	return natsconn.Attempt(ctx, l.Conn, timeout, ErrDisconnected, request)
}
