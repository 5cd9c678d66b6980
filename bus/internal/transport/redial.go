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
	life      uint64 // counts the links of a connection that is dialled, from 1: 0 is none yet, or the caller's own
	made      time.Time
}

func NewLink(nc *nats.Conn, life uint64) (*Link, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &Link{Conn: nc, JetStream: js, life: life, made: time.Now()}, nil
}

// NATS returns the client library's connection of the present link. There is one once the
// connection was up, see State.
func (c *Connection) NATS() *nats.Conn              { return c.Link.Load().Conn }
func (t *Transport) NATS() *nats.Conn               { return t.Conn.NATS() }
func (t *Transport) JetStream() jetstream.JetStream { return t.Conn.Link.Load().JetStream }

// Over reports whether the connection has ended for good: it was closed, or it is the caller's
// and that one was.
func (c *Connection) Over() bool {
	if c.owned {
		return c.ctx.Err() != nil
	}
	return c.State().over
}

// Dialled reports whether a link that has ended for good is replaced.
func (c *Connection) Dialled() bool { return c.owned && !c.Over() }

// Epoch is another number after each reconnect, and on each link.
func (c *Connection) Epoch() uint64 {
	s := c.State()
	if !s.Connected { // the client library is perhaps dialling
		return s.epoch
	}
	return s.link.epoch()
}

func (l *Link) epoch() uint64 { return l.life<<32 | l.Conn.Stats().Reconnects&(1<<32-1) }

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

// keep makes the first link, and replaces those that have ended, until the connection is
// closed.
func (c *Connection) keep() {
	defer close(c.done)
	if !c.redial(1, 0) {
		return
	}
	look := time.NewTicker(refusalLook)
	defer look.Stop()
	var refused time.Duration
	ends := 0
	for {
		select {
		case <-c.broke:
		case <-look.C:
			if s := c.State(); s.Connected || !isRefusal(s.err) {
				refused = 0
			} else if refused += refusalLook; refused >= refusalPatience {
				s.link.Conn.Close()
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
		// The first attempt comes at once, but for jitter that keeps many members of one server
		// apart.
		if pause.Wait(c.ctx, pause.Backoff(firstRedial, MaxRedial, ends)) != nil || !c.redial(l.life+1, ends) {
			return
		}
		ends++
	}
}

// redial makes the link of that number, after as many that ended soon one after another.
// It reports false if the connection was closed meanwhile.
func (c *Connection) redial(life uint64, ends int) bool {
	for attempt := ends + 1; ; attempt++ {
		opts, err := c.options()
		if err == nil {
			err = c.connect(opts, life)
		}
		switch {
		case c.ctx.Err() != nil, c.dialer.ctx.Err() != nil:
			return false
		case err == nil:
			c.failed.Store(nil)
			c.Log.Info("bus: connected", "server", c.State().Server)
			return true
		}
		// One line for each time without a connection, and one when servers begin to refuse: of
		// a cluster, each fails in words of its own.
		if old := c.failed.Swap(&err); old == nil || unreached(*old) != unreached(err) {
			c.Log.Warn("bus: not connected; trying again", "error", err)
		}
		c.tell()
		limit := MaxRedial
		if unreached(err) {
			limit = maxUnreached
		}
		if pause.Wait(c.ctx, pause.Backoff(firstRedial, limit, attempt)) != nil {
			return false
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
