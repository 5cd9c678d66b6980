package rig

import (
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// A Broker is a NATS server that can be stopped, started again at the same address,
// and have its disk exchanged.
type Broker struct {
	Dir     string         // of its data
	Version string         // of the server
	Server  *server.Server // nil while stopped, and where one of another version runs

	t       *testing.T
	port    int
	opts    func(*server.Options)
	include string   // file with accounts, which opts puts into its options
	proc    *process // in place of Server: one of another version
}

// NewBroker starts a server on a new directory.
func NewBroker(t *testing.T, opts func(*server.Options)) *Broker {
	t.Helper()
	return newBrokerOf(t, "", opts)
}

// newBrokerOf is NewBroker with opts that hold the accounts of a file.
func newBrokerOf(t *testing.T, include string, opts func(*server.Options)) *Broker {
	t.Helper()
	b := &Broker{t: t, Dir: t.TempDir(), port: server.RANDOM_PORT, opts: opts, include: include, Version: server.VERSION}
	b.Start()
	t.Cleanup(b.Stop)
	return b
}

func (b *Broker) options() *server.Options {
	o := &server.Options{
		ServerName: "broker", Host: "127.0.0.1", Port: b.port, StoreDir: b.Dir,
		JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true,
	}
	if b.opts != nil {
		b.opts(o)
	}
	return o
}

// Reload has the running server take up options that differ in what change makes of them,
// as an edited configuration file and a signal do.
func (b *Broker) Reload(change func(*server.Options)) {
	b.t.Helper()
	o := b.options()
	change(o)
	if outside != "" {
		b.reloadOutside(o)
		return
	}
	if err := b.Server.ReloadOptions(o); err != nil {
		b.t.Fatal(err)
	}
}

// Start starts the server at its address and with its disk.
func (b *Broker) Start() {
	b.t.Helper()
	o := b.options()
	if outside != "" {
		b.startOutside(o)
		return
	}
	srv, err := server.NewServer(o)
	if err != nil {
		b.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(Deadline) {
		b.t.Fatal("server not ready")
	}
	b.Server, b.port = srv, srv.Addr().(*net.TCPAddr).Port
}

// Stop shuts the server down. A second call does nothing.
func (b *Broker) Stop() {
	if b.proc != nil {
		b.proc.stop()
		b.proc = nil
	}
	if b.Server != nil {
		b.Server.Shutdown()
		b.Server.WaitForShutdown()
		b.Server = nil
	}
}

// URL is the address for clients.
func (b *Broker) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", b.port) }

// CopyDisk returns a copy of the stopped server's directory.
func (b *Broker) CopyDisk() string {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(b.Dir)); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// Elsewhere runs f while the server runs at another address, where no follower
// looks for it.
func (b *Broker) Elsewhere(f func(url string)) {
	b.t.Helper()
	other := &Broker{t: b.t, Dir: b.Dir, port: server.RANDOM_PORT, opts: b.opts, include: b.include}
	other.Start()
	defer other.Stop()
	f(other.URL())
}
