package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Disconnected returns errDisconnected and, as far as the client library tells, why: an
// address that nobody listens at, a certificate, a password. Nobody else says it: the
// library goes on trying, and calls no handler for what a server refuses.
func (c *Connection) Disconnected() error {
	var tried error
	if failed := c.failed.Load(); failed != nil {
		tried = *failed
	}
	for _, why := range []error{c.State().err, tried} {
		// The first says only that no attempt has succeeded, the second ends no connection.
		if why != nil && !errors.Is(why, nats.ErrNoServers) && !errors.Is(why, nats.ErrPermissionViolation) {
			return fmt.Errorf("%w: %w", ErrDisconnected, why)
		}
	}
	return ErrDisconnected
}

// Ended returns an error of the family [ErrClosed] for a connection that is over, and what
// ended it, if that was not its owner.
func (c *Connection) Ended() error {
	if why := c.State().err; why != nil && !errors.Is(why, nats.ErrConnectionClosed) && !errors.Is(why, nats.ErrPermissionViolation) {
		return fmt.Errorf("bus: connection %w: %w", ErrClosed, why)
	}
	return fmt.Errorf("bus: connection %w", ErrClosed)
}

// sayWithin is how long the client library has to say what it knows.
const sayWithin = 100 * time.Millisecond

// refused returns the server's refusal of a message to subject, if one has come since the
// connection's last error was before.
func (c *Connection) refused(before error, subject string) error {
	s := c.State()
	err := s.err
	if s.Connected { // it may have come just now; the client library says so at once, unless it dials
		ctx, cancel := context.WithTimeout(context.Background(), sayWithin)
		defer cancel()
		if now, asked := Within(ctx, s.link.Conn.LastError); asked == nil {
			err = now
		}
	}
	if err != before && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) {
		return err
	}
	return nil
}
