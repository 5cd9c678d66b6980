package bus

import (
	"context"
	"crypto/tls"
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

// A Conn is a connection to NATS with settings under which freshness can be kept:
// it never stops reconnecting and notices a dead server within seconds. One Conn
// carries any number of Buses. It is safe for concurrent use.
type Conn struct {
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

// DialConfig configures [Dial]. The zero DialConfig is usable and secure as far as
// the server's URL is.
type DialConfig struct {
	// Name shows up in the server's list of connections. Empty means "hybridtoken".
	Name string

	// CredentialsFile is a NATS credentials file (JWT and seed). Empty means none;
	// other ways to authenticate go into Options.
	CredentialsFile string

	// TLS is used for the connection, which is then always encrypted. Nil means
	// that the scheme of the URL and the server decide. InsecureSkipVerify without a check
	// of its own in VerifyConnection or VerifyPeerCertificate is logged as a warning:
	// whoever stands between can read, forge and hold back revocations.
	TLS *tls.Config

	// InboxPrefix begins the subjects of replies. Set it, together with the
	// connection's subscribe permission, so that no one else in the account can read
	// or forge acknowledgements. Empty means the client library's "_INBOX".
	InboxPrefix string

	// InProcess is a server in this process, to which the connection is made without
	// a socket; the URLs are then ignored. Nil means none.
	InProcess nats.InProcessConnProvider

	// Options are applied after the defaults and before the settings that safety
	// depends on: endless reconnecting, no buffering while disconnected.
	Options []nats.Option

	// Logger receives changes of the connection's state and its errors. Nil means
	// silent.
	Logger *slog.Logger
}

// Dial connects to the NATS servers, a comma-separated list of URLs with the scheme
// nats, tls, ws or wss, or none, which means nats.
//
// A server that is down is no error: the Conn keeps trying in the background, so
// that a service may start before the bus. Errors are those that trying again
// cannot mend, such as an unreadable credentials file, or a ctx that ends during
// the first attempt; ctx has no influence after Dial returned. The caller closes
// the Conn.
//
// Until then it is dialled again for ever, whatever a server has said. Where the client
// library gives a connection up, as it does at errors of the server's that it does not
// know, and after half a minute of refused credentials, a new one is made: Options are
// applied and files of credentials and certificates read anew, with pauses that grow to
// 30 s where servers refuse. What goes over the Conn goes on over that one. A message that
// was under way at two such ends is taken for their cause; see [Stats].Withheld. Handlers
// in Options are called for each of the library's connections, but that for a closed one
// only when the Conn is closed.
func Dial(ctx context.Context, servers string, cfg DialConfig) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("bus: dial: %w", err)
	}
	var urls []string
	for i, u := range strings.Split(servers, ",") {
		if u = strings.TrimSpace(u); u == "" {
			continue
		}
		// The client library takes any scheme for a plain TCP address.
		if scheme, _, ok := strings.Cut(u, "://"); ok && !slices.Contains([]string{"nats", "tls", "ws", "wss"}, scheme) {
			return nil, fmt.Errorf("bus: dial: server URL %d: the scheme is not nats, tls, ws or wss", i+1)
		}
		urls = append(urls, u)
	}
	if len(urls) == 0 && cfg.InProcess == nil {
		return nil, errors.New("bus: dial: no server URL")
	}
	cfg.Options = slices.Clone(cfg.Options)
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
	}
	c := &Conn{owned: true, log: logger(cfg.Logger), broke: make(chan struct{}, 1), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.options = func() (nats.Options, error) {
		opts, err := cfg.options(urls)
		c.observe(&opts)
		return opts, err
	}
	opts, err := c.options()
	if err == nil {
		if t := opts.TLSConfig; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil && t.VerifyPeerCertificate == nil {
			c.log.Warn("bus: TLS.InsecureSkipVerify: whoever stands between can read, forge and hold back revocations")
		}
		err = c.connect(ctx, opts, 0)
	}
	if err != nil {
		c.cancel()
		return nil, fmt.Errorf("bus: dial: %w", err)
	}
	go c.keep()
	return c, nil
}

// options returns the client library's for the next attempt.
func (cfg *DialConfig) options(urls []string) (nats.Options, error) {
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
				return fmt.Errorf("CredentialsFile: %w", err)
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
func (c *Conn) connect(ctx context.Context, opts nats.Options, life uint64) error {
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
		return errors.New("unreadable server URL")
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

// UseConfig configures [Use].
type UseConfig struct {
	// Shared says that others use the connection too. A follower then never moves it
	// to another server when heartbeats stay away: behind a server that is cut off from
	// its peers it stays stale until that server is back, and can only report it.
	// False means that it may: requests under way then fail as in a reconnect.
	Shared bool

	// Logger receives warnings about the connection's settings. Nil means silent.
	Logger *slog.Logger
}

// Use wraps a connection of the caller's, who goes on owning it: [Conn.Close] does
// not close it. A replica behind a connection that has ended is blind for ever, so Use
// refuses a closed one ([ErrClosed]) and, by name, options that let it end by itself:
// [nats.MaxReconnects] must be negative, and [nats.IgnoreAuthErrorAbort] set, without
// which a password that is wrong for some seconds suffices. It warns of a
// [nats.PingInterval] above 5 s.
//
// What no option prevents: the client library closes its connection for good at any error
// of the server's that it does not know, such as the one for a message larger than a
// max_payload that was lowered. Followers then say [revoke.ReasonClosed] and are no longer
// ready. A connection of [Dial]'s is dialled again.
func Use(nc *nats.Conn, cfg UseConfig) (*Conn, error) {
	log := logger(cfg.Logger)
	if err := natsconn.Check(nc); errors.Is(err, nats.ErrConnectionClosed) {
		return nil, fmt.Errorf("bus: use: connection %w", ErrClosed)
	} else if err != nil {
		return nil, fmt.Errorf("bus: use: %w", err)
	}
	if p, slow := natsconn.SlowPing(nc); slow {
		log.Warn("bus: a dead server is noticed late; use a shorter nats.PingInterval", "ping_interval", p)
	}
	l, err := newLink(nc, 0)
	if err != nil {
		return nil, fmt.Errorf("bus: use: %w", err)
	}
	c := &Conn{shared: cfg.Shared, log: log}
	c.link.Store(l)
	return c, nil
}

// Close closes the connection if [Dial] made it. Buses that still use it report
// [ErrClosed]. It may be called more than once.
func (c *Conn) Close() error {
	if c.owned {
		c.cancel()
		c.nc().Close()
		<-c.done
		c.nc().Close() // one that was made meanwhile
		c.renewed.wake()
	}
	return nil
}

// Connected reports whether the connection is up at the moment.
func (c *Conn) Connected() bool { return c.nc().IsConnected() }

// observe logs what happens to the connection, keeps why an attempt failed, and calls the
// user's handlers too.
func (c *Conn) observe(o *nats.Options) {
	asyncErr, disconnected, reconnected, closed := o.AsyncErrorCB, o.DisconnectedErrCB, o.ReconnectedCB, o.ClosedCB
	attempt := o.ReconnectErrCB
	o.ReconnectErrCB = func(nc *nats.Conn, err error) {
		c.failed.Store(&err)
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
		c.log.Info("bus: connected", "server", nc.ConnectedUrlRedacted())
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
