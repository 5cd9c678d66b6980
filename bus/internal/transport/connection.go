package transport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// A Connection is one to NATS with settings under which freshness can be kept: it never
// stops reconnecting and notices a dead server within seconds.
type Connection struct {
	Link   atomic.Pointer[Link] // the present one; nil: none was made yet
	owned  bool                 // dialled by us, closed by us
	shared bool                 // others use it too: it must not be forced to another server
	Log    *slog.Logger
	inbox  string // what NewInbox begins with; empty: as the client library has it

	state     atomic.Pointer[State] // nil: nobody watches, see Ask
	mu        sync.Mutex            // guards listeners, and state against an older one
	listeners []*Listener
	watching  sync.WaitGroup

	movedAt atomic.Int64          // when a follower last moved it; an Instant's Mono, 0: never
	failed  atomic.Pointer[error] // the last attempt to connect, since it was connected

	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	Renewed Signal // when there is another link

	// Of one that we dial, see redial.
	options func() (nats.Options, error)
	dialer  *dialer
	broke   chan struct{} // holds a token when a link may have ended
	done    chan struct{} // nothing is dialled any more
}

// Dial returns a connection to one of the servers, at once: it is made in the background, and
// made again for ever. Errors are those that trying again cannot mend; it dials nobody to
// find them.
func Dial(cfg Config) (*Connection, error) {
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
	c := &Connection{owned: true, Log: Logger(cfg.Logger), inbox: cfg.InboxPrefix, dialer: newDialer(), broke: make(chan struct{}, 1), done: make(chan struct{})}
	c.options = func() (nats.Options, error) {
		opts, err := cfg.options(urls)
		c.observe(&opts)
		return opts, err
	}
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	if err := rehearse(opts); err != nil {
		return nil, err
	}
	if t := opts.TLSConfig; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil && t.VerifyPeerCertificate == nil {
		c.Log.Warn("bus: TLS.InsecureSkipVerify: an attacker on the network can read, forge and hold back revocations")
	}
	if c.inbox == "" {
		c.inbox = opts.InboxPrefix
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.state.Store(new(State))
	go c.keep()
	return c, nil
}

// rehearse has the client library look at opts as it does before it dials, and dials nobody.
func rehearse(opts nats.Options) error {
	opts.CustomDialer, opts.InProcessServer, opts.SkipHostLookup = nobody{}, nil, true
	nc, err := opts.Connect()
	switch _, unreadable := errors.AsType[*url.Error](err); {
	case err == nil: // not with nobody there
		nc.Close()
		return nil
	case errors.Is(err, errNobody):
		return nil
	case unreadable: // it quotes the URL, which may hold a password
		return errors.New("field Servers: unreadable server URL")
	}
	return err
}

// connect makes the link of that number. It returns early if the connection is closed.
func (c *Connection) connect(opts nats.Options, life uint64) error {
	c.dialer.use(&opts)
	nc, err := opts.Connect()
	if errors.Is(err, nats.ErrNoServers) { // that is all it says of servers that nobody listens at
		if why := c.dialer.failure(); why != nil {
			err = why
		}
	}
	if err != nil {
		return err
	}
	l, err := NewLink(nc, life)
	if err != nil {
		nc.Close()
		return err
	}
	c.take(l)
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
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.take(l)
	return c, nil
}

// Ask wraps a connection of the caller for a few requests. Nobody watches it, and nothing of
// it need be closed.
func Ask(nc *nats.Conn) (*Connection, error) {
	l, err := NewLink(nc, 0)
	if err != nil {
		return nil, err
	}
	c := &Connection{Log: Logger(nil)}
	c.Link.Store(l)
	return c, nil
}

// GiveUp ends an attempt to connect that is under way, and has those to come fail at once. It
// does nothing to a connection that stands, or is the caller's. It comes before what waits for
// users of the connection: the client library lets nobody in while it dials.
func (c *Connection) GiveUp() {
	if c.owned && !c.IsConnected() {
		c.dialer.close()
	}
}

// Close closes the connection if it is ours. It may be called more than once.
func (c *Connection) Close() error {
	c.cancel()
	if c.owned {
		c.GiveUp()
		if l := c.Link.Load(); l != nil {
			l.Conn.Close()
		}
		c.dialer.close()
		<-c.done
		if l := c.Link.Load(); l != nil { // one that was made meanwhile
			l.Conn.Close()
		}
		c.Renewed.Wake()
	}
	c.watching.Wait()
	return nil
}

// NewInbox returns a subject that nobody else in the account uses.
func (c *Connection) NewInbox() string {
	if l := c.Link.Load(); l != nil {
		return l.Conn.NewInbox()
	}
	prefix := c.inbox
	if prefix == "" {
		prefix = strings.TrimSuffix(nats.InboxPrefix, ".")
	}
	return prefix + "." + rand.Text()
}
