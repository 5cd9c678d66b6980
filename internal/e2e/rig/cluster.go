package rig

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
)

// A Cluster is a NATS cluster in this process: real servers with JetStream on file, and
// routes that can be severed. Clients connect to the
// servers directly, so that a server without its peers goes on serving them.
//
// Its methods are for the test's goroutine.
type Cluster struct {
	t     *testing.T
	nodes []*clusterNode
	links [][]*link // links[i][j] carries what node i dials at node j; nil for i == j
}

// A clusterNode is one server of a cluster.
type clusterNode struct {
	name      string
	dir       string
	port      int // for clients; fixed by the first start
	routePort int
	opts      func(*server.Options)
	srv       *server.Server // nil while stopped
}

// NewCluster starts n servers and waits until they have elected a leader for their
// metadata. opts, which may be nil, changes the options of each.
func NewCluster(t *testing.T, n int, opts func(*server.Options)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, links: make([][]*link, n)}
	for i := range n {
		c.nodes = append(c.nodes, &clusterNode{
			name: fmt.Sprint("n", i), dir: t.TempDir(), port: server.RANDOM_PORT, routePort: server.RANDOM_PORT, opts: opts,
		})
		c.links[i] = make([]*link, n)
		for j := range n {
			if i != j {
				c.links[i][j] = newLink(t)
			}
		}
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.Stop(i)
		}
	})
	for i := range n {
		c.launch(i)
	}
	for i := range n {
		c.ready(i)
	}
	Eventually(t, "the cluster has a leader that all follow", func() bool {
		return c.MetaLeader() >= 0 && !slices.ContainsFunc(c.nodes, func(m *clusterNode) bool {
			return !m.srv.JetStreamIsCurrent() || len(m.srv.JetStreamClusterPeers()) < n && m.srv.JetStreamIsLeader()
		})
	})
	return c
}

// launch starts node i without waiting for anything.
func (c *Cluster) launch(i int) {
	c.t.Helper()
	m := c.nodes[i]
	o := &server.Options{
		ServerName: m.name, Host: "127.0.0.1", Port: m.port, StoreDir: m.dir,
		JetStream: true, NoSigs: true, NoLog: true, // not synced: this process outlives its servers
		Cluster: server.ClusterOpts{
			Name: "cluster", Host: "127.0.0.1", Port: m.routePort,
			// Nobody learns of another way to a server than its links.
			Advertise: "127.0.0.1:1", NoAdvertise: true, PoolSize: -1,
		},
	}
	var routes []string
	for _, l := range c.links[i] {
		if l != nil {
			routes = append(routes, "nats://"+l.address())
		}
	}
	o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
	if m.opts != nil {
		m.opts(o)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		c.t.Fatal(err)
	}
	srv.Start()
	m.srv = srv
}

// ready waits until node i accepts clients and routes.
func (c *Cluster) ready(i int) {
	c.t.Helper()
	m := c.nodes[i]
	if !m.srv.ReadyForConnections(Deadline) {
		c.t.Fatalf("server %s not ready", m.name)
	}
	m.port, m.routePort = m.srv.Addr().(*net.TCPAddr).Port, m.srv.ClusterAddr().Port
	for j := range c.nodes {
		if j != i {
			c.links[j][i].target.Store(int64(m.routePort))
		}
	}
}

// Start starts node i, which was stopped, at its addresses and with its disk.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	c.launch(i)
	c.ready(i)
}

// Stop shuts node i down in good order: it hands over what it leads.
func (c *Cluster) Stop(i int) {
	if m := c.nodes[i]; m.srv != nil {
		m.srv.Shutdown()
		m.srv.WaitForShutdown()
		m.srv = nil
	}
}

// Crash stops node i so that its peers learn of it by its silence alone, as if the
// machine had died.
func (c *Cluster) Crash(i int) {
	c.Isolate(i)
	c.Stop(i)
	c.Heal(i)
}

// Isolate cuts node i off from its peers. Its clients stay, and so does its own
// opinion of itself for a while.
func (c *Cluster) Isolate(i int) { c.sever(i, true) }

// Heal ends an isolation; the servers find each other within seconds.
func (c *Cluster) Heal(i int) { c.sever(i, false) }

func (c *Cluster) sever(i int, cut bool) {
	for j := range c.nodes {
		if j != i {
			c.links[i][j].sever(cut)
			c.links[j][i].sever(cut)
		}
	}
}

// URL is the address of node i for clients.
func (c *Cluster) URL(i int) string { return fmt.Sprintf("nats://127.0.0.1:%d", c.nodes[i].port) }

// URLs are the addresses of those nodes, or of all, for one client.
func (c *Cluster) URLs(of ...int) string {
	var list []string
	for i := range c.nodes {
		if len(of) == 0 || slices.Contains(of, i) {
			list = append(list, c.URL(i))
		}
	}
	return strings.Join(list, ",")
}

// AtNode connects to node i of the cluster, and knows the others.
func AtNode(t *testing.T, c *Cluster, i int, opts ...nats.Option) bus.Config {
	t.Helper()
	urls := c.URL(i)
	for j := range c.nodes {
		if j != i {
			urls += "," + c.URL(j)
		}
	}
	return Dial(t, urls, append(opts, nats.DontRandomize())...)
}

// MetaLeader returns which node leads the cluster's metadata, or -1.
func (c *Cluster) MetaLeader() int {
	return slices.IndexFunc(c.nodes, func(m *clusterNode) bool { return m.srv != nil && m.srv.JetStreamIsLeader() })
}

// Leader waits until a node, other than those of but, leads the stream.
func (c *Cluster) Leader(stream string, but ...int) int {
	c.t.Helper()
	leads := -1
	Eventually(c.t, "stream "+stream+" has a leader", func() bool {
		for i, m := range c.nodes {
			if m.srv != nil && !slices.Contains(but, i) && m.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
				leads = i
				return true
			}
		}
		return false
	})
	return leads
}

// Settled waits until the stream has a leader and every running node has all of it.
func (c *Cluster) Settled(stream string) {
	c.t.Helper()
	c.Leader(stream)
	Eventually(c.t, "every node has stream "+stream, func() bool {
		return !slices.ContainsFunc(c.nodes, func(m *clusterNode) bool {
			return m.srv != nil && !m.srv.JetStreamIsStreamCurrent(server.DEFAULT_GLOBAL_ACCOUNT, stream)
		})
	})
}

// CreateStream makes the bus's stream with a replica on every node.
func (c *Cluster) CreateStream(cfg bus.StreamConfig) {
	c.t.Helper()
	cfg.Replicas = len(c.nodes)
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.Name == "" {
		cfg.Name = bus.DefaultStream
	}
	if cfg.Retention.MaxSkew == 0 {
		cfg.Retention.MaxSkew = Quick.MaxSkew
	}
	nc := Connection(c.t, Dial(c.t, c.URLs()))
	defer nc.Close()
	if err := bus.CreateStream(Within(c.t), nc, cfg); err != nil {
		c.t.Fatal(err)
	}
	c.Settled(cfg.Name)
}

// A link carries connections from one node to another, until it is severed.
type link struct {
	ln     net.Listener
	target atomic.Int64 // port; 0: not known yet
	wg     sync.WaitGroup

	mu      sync.Mutex
	severed bool              // guarded by mu
	conns   map[net.Conn]bool // guarded by mu: both ends of each
}

func newLink(t *testing.T) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{ln: ln, conns: map[net.Conn]bool{}}
	l.wg.Go(l.accept)
	t.Cleanup(func() {
		ln.Close()
		l.sever(true)
		l.wg.Wait()
	})
	return l
}

func (l *link) address() string { return l.ln.Addr().String() }

// sever closes what the link carries and lets nothing new pass, or ends that.
func (l *link) sever(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.severed = cut; cut {
		for c := range l.conns {
			c.Close()
		}
		clear(l.conns)
	}
}

// carry registers both ends of a connection, unless the link is severed.
func (l *link) carry(ends ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.severed {
		return false
	}
	for _, c := range ends {
		l.conns[c] = true
	}
	return true
}

func (l *link) accept() {
	for {
		from, err := l.ln.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", l.target.Load()))
		if err != nil {
			from.Close()
			continue
		}
		if !l.carry(from, to) {
			from.Close()
			to.Close()
			continue
		}
		l.wg.Go(func() { l.pipe(from, to) })
		l.wg.Go(func() { l.pipe(to, from) })
	}
}

// pipe copies until either end closes, and then closes both.
func (l *link) pipe(dst, src net.Conn) {
	_, _ = io.Copy(dst, src) // ends with the connection, whatever the reason
	dst.Close()
	src.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, dst)
	delete(l.conns, src)
}
