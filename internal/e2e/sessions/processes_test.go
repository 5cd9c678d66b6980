package sessions_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
)

// serverEnv has a process of this test be a NATS server.
const serverEnv = "HYBRIDTOKEN_E2E_SERVER"

type serverConfig struct {
	Name, Dir       string
	Client, Cluster int // ports
	Routes          []string
}

// serve is one server of a processCluster. It ends in good order with its input.
func serve() {
	var cfg serverConfig
	err := json.Unmarshal([]byte(os.Getenv(serverEnv)), &cfg)
	o := &server.Options{
		ServerName: cfg.Name, Host: "127.0.0.1", Port: cfg.Client, StoreDir: cfg.Dir,
		JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true,
		Cluster: server.ClusterOpts{Name: "processes", Host: "127.0.0.1", Port: cfg.Cluster, NoAdvertise: true},
	}
	for _, r := range cfg.Routes {
		var u *url.URL
		if u, err = url.Parse(r); err == nil {
			o.Routes = append(o.Routes, u)
		}
	}
	var srv *server.Server
	if err == nil {
		srv, err = server.NewServer(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	srv.Start()
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test wants it to end, or is gone
	srv.Shutdown()
	srv.WaitForShutdown()
}

// A processCluster is a cluster of three servers, a process each, with JetStream on
// file and every write synced. Its methods are for one goroutine.
type processCluster struct {
	t     *testing.T
	nodes [3]*processNode
	js    jetstream.JetStream // to ask
}

type processNode struct {
	cfg  serverConfig
	role *rig.Role // nil while stopped
}

func newProcessCluster(t *testing.T) *processCluster {
	t.Helper()
	c := &processCluster{t: t}
	var routes []string
	for i := range c.nodes {
		c.nodes[i] = &processNode{cfg: serverConfig{Name: fmt.Sprint("p", i), Dir: t.TempDir(), Client: rig.FreePort(t), Cluster: rig.FreePort(t)}}
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", c.nodes[i].cfg.Cluster))
	}
	t.Cleanup(func() {
		for i := range c.nodes {
			c.kill(i)
		}
	})
	for i, n := range c.nodes {
		n.cfg.Routes = routes
		c.start(i)
	}
	_, c.js = rig.Client(t, c.urls(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectWait(50*time.Millisecond))
	return c
}

func (c *processCluster) urls() string {
	var list []string
	for _, n := range c.nodes {
		list = append(list, fmt.Sprintf("nats://127.0.0.1:%d", n.cfg.Client))
	}
	return strings.Join(list, ",")
}

func (c *processCluster) start(i int) {
	c.t.Helper()
	n := c.nodes[i]
	text, err := json.Marshal(n.cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	n.role = rig.StartRole(context.Background(), c.t, serverEnv, string(text))
}

// kill is kill -9.
func (c *processCluster) kill(i int) {
	if n := c.nodes[i]; n.role != nil {
		n.role.Kill()
		n.role = nil
	}
}

// stop has server i hand over what it leads, and end.
func (c *processCluster) stop(i int) {
	c.nodes[i].role.End()
	c.nodes[i].role = nil
}

// freeze stops server i like a pause of its machine, thaw ends that.
func (c *processCluster) freeze(i int) { c.nodes[i].role.Signal(syscall.SIGSTOP) }
func (c *processCluster) thaw(i int)   { c.nodes[i].role.Signal(syscall.SIGCONT) }

// info is what the stream's leader says, if it has one.
func (c *processCluster) info(ctx context.Context, stream string) (*jetstream.ClusterInfo, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo().Cluster
	if info == nil || info.Leader == "" {
		return nil, errors.New("no leader")
	}
	return info, nil
}

// leader waits until the stream has one.
func (c *processCluster) leader(stream string) (leads int) {
	c.t.Helper()
	rig.AskUntil(c.t, "stream "+stream+" has a leader", func(ctx context.Context) error {
		info, err := c.info(ctx, stream)
		if err != nil {
			return err
		}
		leads = slices.IndexFunc(c.nodes[:], func(n *processNode) bool { return n.cfg.Name == info.Leader })
		if leads < 0 {
			return fmt.Errorf("its leader is %s", info.Leader)
		}
		return nil
	})
	return leads
}

// settled waits until the stream has a leader, and two others that have all of it.
func (c *processCluster) settled(stream string) {
	c.t.Helper()
	rig.AskUntil(c.t, "all servers have stream "+stream, func(ctx context.Context) error {
		info, err := c.info(ctx, stream)
		if err != nil {
			return err
		}
		if len(info.Replicas) != 2 {
			return fmt.Errorf("%d replicas beside its leader", len(info.Replicas))
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
}
