package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

var errDisconnected = errors.New("bus: not connected")

// disconnected returns errDisconnected and, as far as the client library tells, why: an
// address that nobody listens at, a certificate, a password. Nobody else says it: the
// library goes on trying, and calls no handler for what a server refuses.
func (c *connection) disconnected() error {
	var tried error
	if failed := c.failed.Load(); failed != nil {
		tried = *failed
	}
	for _, why := range []error{c.nc().LastError(), tried} {
		// The first says only that no attempt has succeeded, the second ends no connection.
		if why != nil && !errors.Is(why, nats.ErrNoServers) && !errors.Is(why, nats.ErrPermissionViolation) {
			return fmt.Errorf("%w: %w", errDisconnected, why)
		}
	}
	return errDisconnected
}

// ended returns an error of the family [ErrClosed] for a connection that is over, and what
// ended it, if that was not its owner.
func (c *connection) ended() error {
	if why := c.nc().LastError(); why != nil && !errors.Is(why, nats.ErrConnectionClosed) && !errors.Is(why, nats.ErrPermissionViolation) {
		return fmt.Errorf("bus: connection %w: %w", ErrClosed, why)
	}
	return fmt.Errorf("bus: connection %w", ErrClosed)
}

// refused returns the server's refusal of a message to subject, if one has come since the
// connection's last error was before.
func (c *connection) refused(before error, subject string) error {
	err := c.nc().LastError()
	if err != before && errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+subject+`"`) {
		return err
	}
	return nil
}
