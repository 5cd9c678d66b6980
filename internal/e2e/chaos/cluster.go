package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const servers = 3

// A cluster is the whole system: servers, publishers and verifiers as processes, and
// the links between them.
type cluster struct {
	cfg   config
	dir   string
	clock clock

	ports, routePorts [servers]int
	routes            map[[2]int]*proxy // from one server to another
	links             map[string][servers]*proxy

	mu         sync.Mutex // guards what follows: two lanes of faults change it
	servers    [servers]*process
	verifiers  []*process
	publishers []*process
	generation int
	nextPub    int
	busy       map[string]bool // processes under a fault of their own
	spared     bool            // the verifiers behind the mirror are under no fault
	episodes   []episode
	forks      []fork
	saved      instant // when the backup began; 0: there is none
	savedGroup string  // of the stream in it
}

func newCluster(cfg config, dir string) (*cluster, error) {
	c := &cluster{cfg: cfg, dir: dir, clock: newClock(), routes: map[[2]int]*proxy{}, busy: map[string]bool{}, links: map[string][servers]*proxy{}}
	for _, d := range []string{c.logs(), c.history()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	err := os.WriteFile(c.conf(), []byte(accounts), 0o600)
	if err != nil {
		return nil, err
	}
	for i := range servers {
		if c.ports[i], err = freePort(); err != nil {
			return nil, err
		}
		if c.routePorts[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	for i := range servers {
		for j := range servers {
			if i == j {
				continue
			}
			if c.routes[[2]int{i, j}], err = newProxy(fmt.Sprintf("127.0.0.1:%d", c.routePorts[j])); err != nil {
				return nil, err
			}
		}
	}
	c.verifiers = make([]*process, cfg.verifiers)
	c.publishers = make([]*process, publishers)
	return c, nil
}

const publishers = 2

func (c *cluster) conf() string           { return filepath.Join(c.dir, "accounts.conf") }
func (c *cluster) logs() string           { return filepath.Join(c.dir, "logs") }
func (c *cluster) history() string        { return filepath.Join(c.dir, "history") }
func (c *cluster) store(i int) string     { return filepath.Join(c.dir, fmt.Sprintf("store-%d", i+1)) }
func (c *cluster) backup(i int) string    { return filepath.Join(c.dir, fmt.Sprintf("backup-%d", i+1)) }
func serverName(i int) string             { return fmt.Sprintf("server-%d", i+1) }
func (c *cluster) serverURL(i int) string { return fmt.Sprintf("nats://127.0.0.1:%d", c.ports[i]) }

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func (c *cluster) startServer(i int) error {
	cfg := childConfig{Name: serverName(i), Dir: c.store(i), Conf: c.conf(), Client: c.ports[i], Cluster: c.routePorts[i]}
	for pair, p := range c.routes {
		if pair[0] == i {
			cfg.Routes = append(cfg.Routes, "nats://"+p.addr())
		}
	}
	p, err := start("server", cfg, c.logs())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[i] = p
	return nil
}

// linksOf returns the URLs by which a client reaches the servers, its own proxies.
func (c *cluster) linksOf(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.links[name]
	if !ok {
		for i := range servers {
			var err error
			if l[i], err = newProxy(fmt.Sprintf("127.0.0.1:%d", c.ports[i])); err != nil {
				return "", err
			}
		}
		c.links[name] = l
	}
	urls := make([]string, servers)
	for i := range servers {
		urls[i] = "nats://" + l[i].addr()
	}
	return strings.Join(urls, ","), nil
}

func (c *cluster) startVerifier(i int) error {
	name := fmt.Sprintf("verifier-%d", i+1)
	urls, err := c.linksOf(name)
	if err != nil {
		return err
	}
	user, stream := originUser, bus.DefaultStream
	if c.cfg.behind(i) {
		user, stream = mirrorUser, mirrorName
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.verifiers[i], err = start("verifier", childConfig{
		Name: name, Dir: c.history(), Incarnation: c.generation*100 + i + 1, Servers: urls, User: user, Stream: stream,
		MaxStaleness: c.cfg.maxStaleness,
	}, c.logs())
	return err
}

func (c *cluster) startPublisher(i int) error {
	name := fmt.Sprintf("publisher-%d", i+1)
	urls, err := c.linksOf(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextPub++
	c.publishers[i], err = start("publisher", childConfig{
		Name: name, Dir: c.history(), Incarnation: c.nextPub, Servers: urls, User: originUser, Rate: (c.cfg.rate + publishers - 1) / publishers,
	}, c.logs())
	return err
}

// up starts everything, and returns when every verifier is fresh.
func (c *cluster) up(ctx context.Context) error {
	for i := range servers {
		if err := c.startServer(i); err != nil {
			return err
		}
	}
	if err := errors.Join(c.createStream(ctx), c.remakeMirror(ctx)); err != nil {
		return err
	}
	for i := range c.verifiers {
		if err := c.startVerifier(i); err != nil {
			return err
		}
	}
	for i := range c.publishers {
		if err := c.startPublisher(i); err != nil {
			return err
		}
	}
	return c.healed(ctx, c.clock.now(), c.cfg.patience)
}

// createStream makes the stream, as soon as the servers can.
func (c *cluster) createStream(ctx context.Context) error {
	return c.anyServer(ctx, "create the stream", func(ctx context.Context, i int) error {
		return c.admin(ctx, i, originUser, func(ctx context.Context, nc *nats.Conn, _ jetstream.JetStream) error {
			return bus.CreateStream(ctx, nc, bus.StreamConfig{
				MaxBytes: 2 << 30, Retention: revoke.Retention{TokenLifetime: lifetime, SessionLifetime: 4 * lifetime},
			})
		})
	})
}

// admin calls f with a connection of that user's to server i alone.
func (c *cluster) admin(ctx context.Context, i int, user string, f func(context.Context, *nats.Conn, jetstream.JetStream) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	nc, err := nats.Connect(c.serverURL(i), nats.Timeout(time.Second), nats.MaxReconnects(-1), nats.IgnoreDiscoveredServers(), nats.IgnoreAuthErrorAbort(), as(user))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return f(ctx, nc, js)
}

var errNoLeader = errors.New("the stream has no leader")

// leader returns the stream's leader as most servers know it.
func (c *cluster) leader(ctx context.Context) (int, error) {
	for range 40 {
		var votes [servers]int
		for i := range servers {
			var name string
			_ = c.admin(ctx, i, originUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error { // a server that is down has no vote
				s, err := js.Stream(ctx, bus.DefaultStream)
				if err != nil {
					return err
				}
				if cl := s.CachedInfo().Cluster; cl != nil {
					name = cl.Leader
				}
				return nil
			})
			for k := range servers {
				if serverName(k) == name {
					votes[k]++
				}
			}
		}
		for k, n := range votes {
			if n*2 > servers {
				return k, nil
			}
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, errNoLeader
}

// healed waits until every verifier is proven beyond since, every publisher has had
// an acknowledgement since, and nothing is being republished. With names it is about
// those processes alone, else about all that are under no fault of their own.
func (c *cluster) healed(ctx context.Context, since instant, within time.Duration, names ...string) error {
	end := time.Now().Add(within)
	for {
		sick := c.sick(since, names)
		if sick == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not healed within %s: %s", within, sick)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *cluster) sick(since instant, names []string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	skip := func(p *process) bool {
		if len(names) == 0 {
			return c.busy[p.name]
		}
		return !slices.Contains(names, p.name)
	}
	for _, p := range c.servers {
		if len(names) == 0 && !(p.running() && p.status().Ready) {
			return p.name + " is not ready"
		}
	}
	for _, p := range c.verifiers {
		switch s := p.status(); {
		case skip(p):
		case !p.running():
			return p.name + " has ended"
		case s.State != revoke.StateFresh.String() || s.Proven <= since:
			return fmt.Sprintf("%s is %s (%s)", p.name, s.State, s.Reason)
		}
	}
	for _, p := range c.publishers {
		switch s := p.status(); {
		case skip(p):
		case !p.running():
			return p.name + " has ended"
		case s.LastAck <= since:
			return p.name + " has no acknowledgement"
		case !s.Settled:
			return p.name + " republishes"
		}
	}
	return ""
}

// finish has the publishers finish what they began and the verifiers ask about
// everything once more.
func (c *cluster) finish(ctx context.Context) error {
	for _, p := range c.publishers {
		p.command("stop")
	}
	for _, p := range c.publishers {
		if err := p.ends(time.Minute); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	// Two intervals and a skew: another's heartbeat, too, has then proven all of it.
	at := c.clock.now()
	end := time.Now().Add(c.cfg.patience)
	for _, p := range c.verifiers {
		for p.status().Proven <= at {
			if time.Now().After(end) {
				return fmt.Errorf("%s is not proven at the end: %+v", p.name, p.status())
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	for _, p := range c.verifiers {
		p.command("stop")
	}
	for _, p := range c.verifiers {
		if err := p.ends(2 * time.Minute); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// close ends whatever still runs.
func (c *cluster) close() {
	c.mu.Lock()
	all := append(append(append([]*process{}, c.servers[:]...), c.verifiers...), c.publishers...)
	c.mu.Unlock()
	for _, p := range all {
		if p != nil {
			p.kill()
		}
	}
	for _, p := range c.routes {
		p.close()
	}
	for _, l := range c.links {
		for _, p := range l {
			p.close()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
