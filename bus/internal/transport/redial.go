package transport

import (
	"errors"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/pause"
)

// A Link is one connection of the client library's, which ends for good when the library
// says so; a connection of [Join]'s then gets another. It is immutable.
type Link struct {
	Conn      *nats.Conn
	JetStream jetstream.JetStream
	life      uint64 // counts the links of a connection from 0
	made      time.Time
}

func NewLink(nc *nats.Conn, life uint64) (*Link, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &Link{Conn: nc, JetStream: js, life: life, made: time.Now()}, nil
}

func (c *Connection) NATS() *nats.Conn              { return c.Link.Load().Conn }
func (t *Transport) NATS() *nats.Conn               { return t.Conn.NATS() }
func (t *Transport) JetStream() jetstream.JetStream { return t.Conn.Link.Load().JetStream }

// Over reports whether the connection has ended for good: it was closed, or it is the caller's
// and that one was.
func (c *Connection) Over() bool {
	if c.owned {
		return c.ctx.Err() != nil
	}
	return c.NATS().IsClosed()
}

// Epoch is another number after each reconnect, and on each link.
func (c *Connection) Epoch() uint64 {
	l := c.Link.Load()
	return l.life<<32 | l.Conn.Stats().Reconnects&(1<<32-1)
}

const (
	// steady is how long a link must have lived for its end to be no part of a series.
	steady = time.Minute

	firstRedial = 500 * time.Millisecond
	// MaxRedial bounds the pause between two attempts where servers refuse, or end each
	// connection again; maxUnreached that where none answers.
	MaxRedial    = 30 * time.Second
	maxUnreached = 2 * time.Second

	// The client library tries refused credentials again for ever, twice a second, and
	// never applies its options anew. So long it may.
	refusalLook     = 5 * time.Second
	refusalPatience = 30 * time.Second
)

// keep replaces links that have ended until the connection is closed.
func (c *Connection) keep() {
	defer close(c.done)
	look := time.NewTicker(refusalLook)
	defer look.Stop()
	var refused time.Duration
	ends := 0
	for {
		select {
		case <-c.broke:
		case <-look.C:
			if l := c.Link.Load(); l.Conn.IsConnected() || !isRefusal(l.Conn.LastError()) {
				refused = 0
			} else if refused += refusalLook; refused >= refusalPatience {
				l.Conn.Close()
			}
		case <-c.ctx.Done():
			return
		}
		l := c.Link.Load()
		if !l.Conn.IsClosed() || c.ctx.Err() != nil {
			continue
		}
		if refused = 0; time.Since(l.made) > steady {
			ends = 0
		}
		c.Log.Warn("bus: the connection was ended for good; dialling again", "error", l.Conn.LastError())
		if !c.redial(l.life+1, ends) {
			return
		}
		ends++
		c.Log.Info("bus: connected", "server", ServerOf(c.NATS()))
		c.Renewed.Wake()
	}
}

// redial makes the link of that number, after as many that ended soon one after another.
// It reports false if the connection was closed meanwhile.
func (c *Connection) redial(life uint64, ends int) bool {
	limit := MaxRedial
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
			c.Log.Warn("bus: not connected", "error", err)
		}
		if limit = MaxRedial; unreached(err) {
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

// A Listener hears of changes of the connection's state, whichever link it is on. It
// belongs to one goroutine.
type Listener struct {
	c  *Connection
	on *Link
	ch chan nats.Status
}

func (c *Connection) Listen() *Listener { return &Listener{c: c} }

// Changes returns a channel with the changes of the present link. After the end of a link
// the next is to be asked for, see connection.renewed.
func (l *Listener) Changes() <-chan nats.Status {
	if now := l.c.Link.Load(); now != l.on {
		l.Stop()
		l.on, l.ch = now, now.Conn.StatusChanged()
	}
	return l.ch
}

func (l *Listener) Stop() {
	if l.on != nil {
		l.on.Conn.RemoveStatusListener(l.ch)
		l.on = nil
	}
}
