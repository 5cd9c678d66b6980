package bus

import (
	"errors"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/pause"
)

// A link is one connection of the client library's, which ends for good when the library
// says so; a connection of [Join]'s then gets another. It is immutable.
type link struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	life uint64 // counts the links of a connection from 0
	made time.Time
}

func newLink(nc *nats.Conn, life uint64) (*link, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &link{nc: nc, js: js, life: life, made: time.Now()}, nil
}

func (c *connection) nc() *nats.Conn         { return c.link.Load().nc }
func (t *transport) nc() *nats.Conn          { return t.conn.nc() }
func (t *transport) js() jetstream.JetStream { return t.conn.link.Load().js }

// over reports whether the connection has ended for good: it was closed, or it is the caller's
// and that one was.
func (c *connection) over() bool {
	if c.owned {
		return c.ctx.Err() != nil
	}
	return c.nc().IsClosed()
}

// epoch is another number after each reconnect, and on each link.
func (c *connection) epoch() uint64 {
	l := c.link.Load()
	return l.life<<32 | l.nc.Stats().Reconnects&(1<<32-1)
}

const (
	// steady is how long a link must have lived for its end to be no part of a series.
	steady = time.Minute

	firstRedial = 500 * time.Millisecond
	// maxRedial bounds the pause between two attempts where servers refuse, or end each
	// connection again; maxUnreached that where none answers.
	maxRedial    = 30 * time.Second
	maxUnreached = 2 * time.Second

	// The client library tries refused credentials again for ever, twice a second, and
	// never applies its options anew. So long it may.
	refusalLook     = 5 * time.Second
	refusalPatience = 30 * time.Second
)

// keep replaces links that have ended until the connection is closed.
func (c *connection) keep() {
	defer close(c.done)
	look := time.NewTicker(refusalLook)
	defer look.Stop()
	var refused time.Duration
	ends := 0
	for {
		select {
		case <-c.broke:
		case <-look.C:
			if l := c.link.Load(); l.nc.IsConnected() || !isRefusal(l.nc.LastError()) {
				refused = 0
			} else if refused += refusalLook; refused >= refusalPatience {
				l.nc.Close()
			}
		case <-c.ctx.Done():
			return
		}
		l := c.link.Load()
		if !l.nc.IsClosed() || c.ctx.Err() != nil {
			continue
		}
		if refused = 0; time.Since(l.made) > steady {
			ends = 0
		}
		c.log.Warn("bus: the connection was ended for good; dialling again", "error", l.nc.LastError())
		if !c.redial(l.life+1, ends) {
			return
		}
		ends++
		c.log.Info("bus: connected", "server", serverOf(c.nc()))
		c.renewed.wake()
	}
}

// redial makes the link of that number, after as many that ended soon one after another.
// It reports false if the connection was closed meanwhile.
func (c *connection) redial(life uint64, ends int) bool {
	limit := maxRedial
	for attempt := ends; ; attempt++ {
		// The first comes at once, but for jitter that keeps many members of one server apart.
		if pause.Wait(c.ctx, pause.Backoff(firstRedial, limit, attempt)) != nil {
			return false
		}
		opts, err := c.options()
		if err == nil {
			opts.RetryOnFailedConnect = false // the pauses are ours
			err = c.connect(c.ctx, opts, life)
		}
		switch {
		case c.ctx.Err() != nil:
			return false
		case err == nil:
			c.failed.Store(nil)
			return true
		}
		if old := c.failed.Swap(&err); old == nil || (*old).Error() != err.Error() {
			c.log.Warn("bus: not connected", "error", err)
		}
		if limit = maxRedial; unreached(err) {
			limit = maxUnreached
		}
	}
}

// isRefusal reports whether a server has refused the credentials.
func isRefusal(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// unreached reports whether no server has said anything.
func unreached(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout)
}

// A listener hears of changes of the connection's state, whichever link it is on. It
// belongs to one goroutine.
type listener struct {
	c  *connection
	on *link
	ch chan nats.Status
}

func (c *connection) listen() *listener { return &listener{c: c} }

// changes returns a channel with the changes of the present link. After the end of a link
// the next is to be asked for, see connection.renewed.
func (l *listener) changes() <-chan nats.Status {
	if now := l.c.link.Load(); now != l.on {
		l.stop()
		l.on, l.ch = now, now.nc.StatusChanged()
	}
	return l.ch
}

func (l *listener) stop() {
	if l.on != nil {
		l.on.nc.RemoveStatusListener(l.ch)
		l.on = nil
	}
}
