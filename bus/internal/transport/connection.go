package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// A Connection is one to NATS with settings under which freshness can be kept: it never
// stops reconnecting and notices a dead server within seconds.
type Connection struct {
	Link   atomic.Pointer[Link] // the present one
	owned  bool                 // dialled by us, closed by us
	shared bool                 // others use it too: it must not be forced to another server
	Log    *slog.Logger

	movedAt atomic.Int64          // when a follower last moved it; an Instant's Mono, 0: never
	failed  atomic.Pointer[error] // the last attempt to connect, since it was connected

	// Of one that we dial, see redial.
	options func() (nats.Options, error)
	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	broke   chan struct{} // holds a token when a link may have ended
	Renewed Signal        // when there is another link
	done    chan struct{} // nothing is dialled any more
}

// Dial connects to one of the servers, or goes on trying in the background. Errors
// are those that trying again cannot mend, or a ctx that ends during the first attempt.
func Dial(ctx context.Context, cfg Config) (*Connection, error) {
	var urls []string
	for i, u := range strings.Split(cfg.Servers, ",") {
		if u = strings.TrimSpace(u); u == "" {
			continue
		}
		// The client library takes any scheme for a plain TCP address.
		if scheme, _, ok := strings.Cut(u, "://"); ok && !slices.Contains([]string{"nats", "tls", "ws", "wss"}, scheme) {
			return nil, fmt.Errorf("field Servers: server URL %d: the scheme is not nats, tls, ws or wss", i+1)
		}
		urls = append(urls, u)
	}
	if len(urls) == 0 && cfg.InProcess == nil {
		return nil, errors.New("field Servers: no server URL")
	}
	cfg.Options = slices.Clone(cfg.Options)
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
	}
	c := &Connection{owned: true, Log: Logger(cfg.Logger), broke: make(chan struct{}, 1), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.options = func() (nats.Options, error) {
		opts, err := cfg.options(urls)
		c.observe(&opts)
		return opts, err
	}
	opts, err := c.options()
	if err == nil {
		if t := opts.TLSConfig; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil && t.VerifyPeerCertificate == nil {
			c.Log.Warn("bus: TLS.InsecureSkipVerify: an attacker on the network can read, forge and hold back revocations")
		}
		err = c.connect(ctx, opts, 0)
	}
	if err != nil {
		c.cancel()
		return nil, err
	}
	go c.keep()
	return c, nil
}

// connect makes the link of that number. The client library takes no context; an attempt
// that was given up ends by its own timeout.
func (c *Connection) connect(ctx context.Context, opts nats.Options, life uint64) error {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := opts.Connect()
		done <- result{nc, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		go func() {
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return ctx.Err()
	}
	if _, ok := errors.AsType[*url.Error](r.err); ok { // it quotes the URL, which may hold a password
		return errors.New("field Servers: unreadable server URL")
	}
	if r.err != nil {
		return r.err
	}
	l, err := NewLink(r.nc, life)
	if err != nil {
		r.nc.Close()
		return err
	}
	c.Link.Store(l)
	return nil
}

// Use wraps a connection of the caller, who goes on owning it and may share it.
func Use(nc *nats.Conn, shared bool, logTo *slog.Logger) (*Connection, error) {
	log := Logger(logTo)
	if err := natsconn.Check(nc); errors.Is(err, nats.ErrConnectionClosed) {
		return nil, fmt.Errorf("field Conn: connection %w", ErrClosed)
	} else if err != nil {
		return nil, fmt.Errorf("field Conn: %w", err)
	}
	if p, slow := natsconn.SlowPing(nc); slow {
		log.Warn("bus: a dead server is noticed late; use a shorter nats.PingInterval", "ping_interval", p)
	}
	l, err := NewLink(nc, 0)
	if err != nil {
		return nil, fmt.Errorf("field Conn: %w", err)
	}
	c := &Connection{shared: shared, Log: log}
	c.Link.Store(l)
	return c, nil
}

// Close closes the connection if it is ours. It may be called more than once.
func (c *Connection) Close() error {
	if c.owned {
		c.cancel()
		c.NATS().Close()
		<-c.done
		c.NATS().Close() // one that was made meanwhile
		c.Renewed.Wake()
	}
	return nil
}

// IsConnected reports whether the connection is up at the moment.
func (c *Connection) IsConnected() bool { return c.NATS().IsConnected() }
