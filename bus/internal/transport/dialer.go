package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A dialer dials for the client library, which takes no context and lets nobody in meanwhile,
// not even to close the connection. It ends on command.
type dialer struct {
	ctx    context.Context // ends when it is closed
	cancel context.CancelFunc

	mu     sync.Mutex
	last   net.Conn // guarded by mu: what was dialled last
	failed error    // guarded by mu: why the last attempt brought none
}

func newDialer() *dialer {
	d := new(dialer)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// close ends what is being dialled and what was dialled last, on which the client library
// perhaps waits for a server to say something. It may be called more than once.
func (d *dialer) close() {
	d.cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil {
		d.last.Close()
	}
}

// failure returns why the last attempt to reach a server brought no connection.
func (d *dialer) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// use has the client library dial by d, as opts say.
func (d *dialer) use(opts *nats.Options) {
	if server := opts.InProcessServer; server != nil {
		opts.InProcessServer = inProcess(func() (net.Conn, error) { return d.run(server.InProcessConn) })
		return
	}
	theirs := opts.CustomDialer
	if theirs == nil {
		h := hosts{timeout: opts.Timeout, ordered: opts.NoRandomize, alone: opts.SkipHostLookup}
		if opts.Dialer != nil {
			h.Dialer = *opts.Dialer
		} else {
			h.Dialer.Timeout = opts.Timeout
		}
		if opts.AllowMultipathTCP != nil {
			h.SetMultipathTCP(*opts.AllowMultipathTCP)
		}
		opts.SkipHostLookup = true // it would take no context
		opts.CustomDialer = custom(func(network, address string) (net.Conn, error) {
			return d.run(func() (net.Conn, error) { return h.dial(d.ctx, network, address) })
		})
		return
	}
	dial := custom(func(network, address string) (net.Conn, error) {
		return d.run(func() (net.Conn, error) { return theirs.Dial(network, address) })
	})
	opts.CustomDialer = dial
	if skips, ok := theirs.(interface{ SkipTLSHandshake() bool }); ok {
		opts.CustomDialer = customTLS{dial, skips.SkipTLSHandshake}
	}
}

// run returns what dial does, or an error as soon as d is closed.
func (d *dialer) run(dial func() (net.Conn, error)) (net.Conn, error) {
	if err := d.ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := dial()
		done <- result{conn, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-d.ctx.Done():
		go func() {
			if r := <-done; r.conn != nil {
				r.conn.Close()
			}
		}()
		r.err = d.ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.failed = r.conn, r.err
	if r.conn != nil && d.ctx.Err() != nil {
		r.conn.Close()
	}
	return r.conn, r.err
}

// custom implements [nats.CustomDialer].
type custom func(network, address string) (net.Conn, error)

func (f custom) Dial(network, address string) (net.Conn, error) { return f(network, address) }

// A customTLS is a custom that does the TLS handshake itself, or leaves it out.
type customTLS struct {
	custom
	skip func() bool
}

func (c customTLS) SkipTLSHandshake() bool { return c.skip() }

// inProcess implements [nats.InProcessConnProvider].
type inProcess func() (net.Conn, error)

func (f inProcess) InProcessConn() (net.Conn, error) { return f() }

// A hosts dials as the client library does, which tries all addresses of a name in a random
// order, and within a time.
type hosts struct {
	net.Dialer
	timeout time.Duration
	ordered bool // not at random
	alone   bool // names are not looked up here
}

func (h *hosts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	addresses := []string{address}
	if host, port, err := net.SplitHostPort(address); err == nil && !h.alone && net.ParseIP(host) == nil {
		resolver := h.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		ctx, cancel := context.WithTimeout(ctx, h.timeout)
		found, err := resolver.LookupHost(ctx, host)
		cancel()
		if err != nil {
			return nil, err
		}
		addresses = addresses[:0]
		for _, a := range found {
			addresses = append(addresses, net.JoinHostPort(a, port))
		}
	}
	if !h.ordered {
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	}
	one := h.Dialer
	one.Timeout /= time.Duration(len(addresses))
	var conn net.Conn
	var err error
	for _, a := range addresses {
		if conn, err = one.DialContext(ctx, network, a); err == nil || ctx.Err() != nil {
			break
		}
	}
	return conn, err
}

// nobody implements [nats.CustomDialer] where nobody is to be reached.
type nobody struct{}

var errNobody = errors.New("nobody is dialled")

func (nobody) Dial(string, string) (net.Conn, error) { return nil, errNobody }
