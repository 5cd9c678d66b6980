package bus

import (
	"context"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// attempt makes one request, and returns errDisconnected if the connection is lost before
// it is answered.
func (l *link) attempt(ctx context.Context, timeout time.Duration, request func(context.Context) error) error {
	return natsconn.Attempt(ctx, l.nc, timeout, errDisconnected, request)
}
