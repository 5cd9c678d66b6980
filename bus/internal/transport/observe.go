package transport

import (
	"net/url"

	"github.com/nats-io/nats.go"
)

// ServerOf returns the URL of the server that nc is connected to, empty if to none. The client
// library hides passwords in it, and shows a token, which stands where a name does.
func ServerOf(nc *nats.Conn) string {
	u, err := url.Parse(nc.ConnectedUrlRedacted())
	if err != nil {
		return "?" // it was parsed before
	}
	u.User = nil
	return u.String()
}

// observe logs what happens to the connection, keeps why an attempt failed, and calls the
// user's handlers too.
func (c *Connection) observe(o *nats.Options) {
	asyncErr, disconnected, reconnected, closed := o.AsyncErrorCB, o.DisconnectedErrCB, o.ReconnectedCB, o.ClosedCB
	attempt := o.ReconnectErrCB
	o.ReconnectErrCB = func(nc *nats.Conn, err error) {
		// One line for each time without a connection: of a cluster, each server fails in
		// words of its own.
		if c.failed.Swap(&err) == nil {
			c.Log.Warn("bus: not connected; trying again", "error", err)
		}
		if attempt != nil {
			attempt(nc, err)
		}
	}
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
		c.Log.Warn("bus: connection error", "error", err)
		if asyncErr != nil {
			asyncErr(nc, sub, err)
		}
	}
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		c.failed.Store(nil)
		if err != nil {
			c.Log.Warn("bus: disconnected", "error", err)
		} else {
			c.Log.Info("bus: disconnected")
		}
		if disconnected != nil {
			disconnected(nc, err)
		}
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		c.Log.Info("bus: connected", "server", ServerOf(nc))
		if reconnected != nil {
			reconnected(nc)
		}
	}
	o.ClosedCB = func(nc *nats.Conn) {
		if c.ctx.Err() == nil {
			select {
			case c.broke <- struct{}{}:
			default:
			}
			return
		}
		c.Log.Info("bus: connection closed")
		if closed != nil {
			closed(nc)
		}
	}
}
