package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// A connection is one to NATS with settings under which freshness can be kept: it never
// stops reconnecting and notices a dead server within seconds.
type connection struct {
	link   atomic.Pointer[link] // the present one
	owned  bool                 // dialled by us, closed by us
	shared bool                 // others use it too: it must not be forced to another server
	log    *slog.Logger

	movedAt atomic.Int64          // when a follower last moved it; an Instant's Mono, 0: never
	failed  atomic.Pointer[error] // the last attempt to connect, since it was connected

	// Of one that we dial, see redial.
	options func() (nats.Options, error)
	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	broke   chan struct{} // holds a token when a link may have ended
	renewed signal        // when there is another link
	done    chan struct{} // nothing is dialled any more
}

// dialServers connects to one of the servers, or goes on trying in the background. Errors
// are those that trying again cannot mend, or a ctx that ends during the first attempt.
func dialServers(ctx context.Context, cfg Config) (*connection, error) {
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
	c := &connection{owned: true, log: logger(cfg.Logger), broke: make(chan struct{}, 1), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.options = func() (nats.Options, error) {
		opts, err := cfg.options(urls)
		c.observe(&opts)
		return opts, err
	}
	opts, err := c.options()
	if err == nil {
		if t := opts.TLSConfig; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil && t.VerifyPeerCertificate == nil {
			c.log.Warn("bus: TLS.InsecureSkipVerify: an attacker on the network can read, forge and hold back revocations")
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

// options returns the client library's for the next attempt.
func (cfg *Config) options(urls []string) (nats.Options, error) {
	opts := nats.GetDefaultOptions()
	opts.Servers = slices.Clone(urls)
	name := cfg.Name
	if name == "" {
		name = "hybridtoken"
	}
	set := []nats.Option{
		nats.Name(name),
		nats.Timeout(3 * time.Second),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 2*time.Second),
		nats.PingInterval(2 * time.Second), // a dead peer is noticed within 6 s
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(5 * time.Second),
	}
	if cfg.CredentialsFile != "" {
		credentials := nats.UserCredentials(cfg.CredentialsFile)
		set = append(set, func(o *nats.Options) error {
			if err := credentials(o); err != nil {
				return fmt.Errorf("field CredentialsFile: %w", err)
			}
			return nil
		})
	}
	if cfg.TLS != nil {
		set = append(set, nats.Secure(cfg.TLS.Clone()))
	}
	if cfg.InProcess != nil {
		set = append(set, nats.InProcessServer(cfg.InProcess))
	}
	if cfg.InboxPrefix != "" {
		for token := range strings.SplitSeq(cfg.InboxPrefix, ".") {
			if token == "" || strings.ContainsAny(token, "*>") || strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
				return opts, fmt.Errorf("InboxPrefix %q is no subject without wildcards", cfg.InboxPrefix)
			}
		}
		set = append(set, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	set = append(set, cfg.Options...)
	set = append(set,
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // a revoked and restored credential must not end reconnecting for ever
		nats.ReconnectBufSize(-1),   // a caller hears at once that nothing is sent
	)
	for _, o := range set {
		if o == nil {
			continue
		}
		if err := o(&opts); err != nil {
			return opts, err
		}
	}
	opts.AllowReconnect = true
	return opts, nil
}

// connect makes the link of that number. The client library takes no context; an attempt
// that was given up ends by its own timeout.
func (c *connection) connect(ctx context.Context, opts nats.Options, life uint64) error {
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
	l, err := newLink(r.nc, life)
	if err != nil {
		r.nc.Close()
		return err
	}
	c.link.Store(l)
	return nil
}

// useConn wraps a connection of the caller, who goes on owning it.
func useConn(cfg Config) (*connection, error) {
	nc := cfg.Conn
	log := logger(cfg.Logger)
	if err := natsconn.Check(nc); errors.Is(err, nats.ErrConnectionClosed) {
		return nil, fmt.Errorf("field Conn: connection %w", ErrClosed)
	} else if err != nil {
		return nil, fmt.Errorf("field Conn: %w", err)
	}
	if p, slow := natsconn.SlowPing(nc); slow {
		log.Warn("bus: a dead server is noticed late; use a shorter nats.PingInterval", "ping_interval", p)
	}
	l, err := newLink(nc, 0)
	if err != nil {
		return nil, fmt.Errorf("field Conn: %w", err)
	}
	c := &connection{shared: cfg.Shared, log: log}
	c.link.Store(l)
	return c, nil
}

// close closes the connection if it is ours. It may be called more than once.
func (c *connection) close() error {
	if c.owned {
		c.cancel()
		c.nc().Close()
		<-c.done
		c.nc().Close() // one that was made meanwhile
		c.renewed.wake()
	}
	return nil
}

// isConnected reports whether the connection is up at the moment.
func (c *connection) isConnected() bool { return c.nc().IsConnected() }

// serverOf returns the URL of the server that nc is connected to, empty if to none. The client
// library hides passwords in it, and shows a token, which stands where a name does.
func serverOf(nc *nats.Conn) string {
	u, err := url.Parse(nc.ConnectedUrlRedacted())
	if err != nil {
		return "?" // it was parsed before
	}
	u.User = nil
	return u.String()
}

// observe logs what happens to the connection, keeps why an attempt failed, and calls the
// user's handlers too.
func (c *connection) observe(o *nats.Options) {
	asyncErr, disconnected, reconnected, closed := o.AsyncErrorCB, o.DisconnectedErrCB, o.ReconnectedCB, o.ClosedCB
	attempt := o.ReconnectErrCB
	o.ReconnectErrCB = func(nc *nats.Conn, err error) {
		// One line for each time without a connection: of a cluster, each server fails in
		// words of its own.
		if c.failed.Swap(&err) == nil {
			c.log.Warn("bus: not connected; trying again", "error", err)
		}
		if attempt != nil {
			attempt(nc, err)
		}
	}
	o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
		c.log.Warn("bus: connection error", "error", err)
		if asyncErr != nil {
			asyncErr(nc, sub, err)
		}
	}
	o.DisconnectedErrCB = func(nc *nats.Conn, err error) {
		c.failed.Store(nil)
		if err != nil {
			c.log.Warn("bus: disconnected", "error", err)
		} else {
			c.log.Info("bus: disconnected")
		}
		if disconnected != nil {
			disconnected(nc, err)
		}
	}
	o.ReconnectedCB = func(nc *nats.Conn) {
		c.log.Info("bus: connected", "server", serverOf(nc))
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
		c.log.Info("bus: connection closed")
		if closed != nil {
			closed(nc)
		}
	}
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
