package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const issuer = "https://auth.example.com"

// A broker is a NATS server that can be stopped, started again at the same address,
// and have its disk exchanged.
type broker struct {
	t    *testing.T
	dir  string
	port int
	opts func(*server.Options)
	srv  *server.Server

	include string   // file with accounts, which opts puts into its options
	proc    *process // in place of srv: a server of another version
	version string
}

// newBroker starts a server on a new directory.
func newBroker(t *testing.T, opts func(*server.Options)) *broker {
	t.Helper()
	return newBrokerOf(t, "", opts)
}

// newBrokerOf is newBroker with opts that hold the accounts of a file.
func newBrokerOf(t *testing.T, include string, opts func(*server.Options)) *broker {
	t.Helper()
	b := &broker{t: t, dir: t.TempDir(), port: server.RANDOM_PORT, opts: opts, include: include, version: server.VERSION}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) options() *server.Options {
	o := &server.Options{
		ServerName: "broker", Host: "127.0.0.1", Port: b.port, StoreDir: b.dir,
		JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true,
	}
	if b.opts != nil {
		b.opts(o)
	}
	return o
}

// reload has the running server take up options that differ in what change makes of them,
// as an edited configuration file and a signal do.
func (b *broker) reload(change func(*server.Options)) {
	b.t.Helper()
	o := b.options()
	change(o)
	if outside != "" {
		b.reloadOutside(o)
		return
	}
	if err := b.srv.ReloadOptions(o); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) start() {
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
	if !srv.ReadyForConnections(deadline) {
		b.t.Fatal("server not ready")
	}
	b.srv, b.port = srv, srv.Addr().(*net.TCPAddr).Port
}

func (b *broker) stop() {
	if b.proc != nil {
		b.proc.stop()
		b.proc = nil
	}
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
		b.srv = nil
	}
}

func (b *broker) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", b.port) }

// copyDisk returns a copy of the stopped server's directory.
func (b *broker) copyDisk() string {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(b.dir)); err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// elsewhere runs f while the server runs at another address, where no follower
// looks for it.
func (b *broker) elsewhere(f func(url string)) {
	b.t.Helper()
	other := &broker{t: b.t, dir: b.dir, port: server.RANDOM_PORT, opts: b.opts, include: b.include}
	other.start()
	defer other.stop()
	f(other.url())
}

// dial says where a member connects to, with short pauses between reconnects.
func dial(t *testing.T, url string, opts ...nats.Option) bus.Config {
	t.Helper()
	return bus.Config{
		Servers: url,
		Options: append([]nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond)}, opts...),
	}
}

// joining is what join makes a member of: where it connects to, what cfg says and, unless
// it is nil, a List. Its issuer is that of the tests, unless cfg names others.
func joining(where, cfg bus.Config, l *revoke.List) bus.Config {
	if len(cfg.Issuers) == 0 {
		cfg.Issuers = []string{issuer}
	}
	if cfg.Logger == nil {
		cfg.Logger = where.Logger
	}
	cfg.Servers, cfg.Conn, cfg.InProcess, cfg.Shared = where.Servers, where.Conn, where.InProcess, where.Shared
	cfg.CredentialsFile, cfg.TLS, cfg.InboxPrefix, cfg.Options = where.CredentialsFile, where.TLS, where.InboxPrefix, where.Options
	cfg.List = l
	return cfg
}

func join(t *testing.T, where, cfg bus.Config, l *revoke.List) *bus.Member {
	t.Helper()
	m, err := bus.Join(within(t), joining(where, cfg, l))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// connection makes a plain one to where a member would connect to.
func connection(t *testing.T, where bus.Config) *nats.Conn {
	t.Helper()
	opts := append([]nats.Option{nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.RetryOnFailedConnect(true)}, where.Options...)
	if where.InProcess != nil {
		opts = append(opts, nats.InProcessServer(where.InProcess))
	}
	nc, err := nats.Connect(where.Servers, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func createStream(t *testing.T, where bus.Config, cfg bus.StreamConfig) {
	t.Helper()
	cfg.Replicas = 1
	if cfg.Retention.MaxSkew == 0 {
		cfg.Retention.MaxSkew = quick.MaxSkew
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	nc := connection(t, where)
	defer nc.Close()
	made(t, func(ctx context.Context) error { return bus.CreateStream(ctx, nc, cfg) })
}

// made has something made that may be made twice. A server that has deleted its account's
// last stream removes the directory above it a moment later, perhaps while it makes the
// next stream's.
func made(t *testing.T, create func(context.Context) error) {
	t.Helper()
	const storeFailed = 10049
	ctx := within(t)
	askUntil(t, "made", func(context.Context) error { // create asks again itself
		err := create(ctx)
		if api, ok := errors.AsType[*jetstream.APIError](err); err != nil && (!ok || api.ErrorCode != storeFailed) {
			t.Fatal(err)
		}
		return err
	})
}

// quick are intervals small enough for tests and large enough for a busy machine.
// MaxStaleness is as in production.
var quick = revoke.Config{HeartbeatInterval: 50 * time.Millisecond, MaxSkew: 100 * time.Millisecond}

// newList returns a List for a stream of createStream's.
func newList(t *testing.T, cfg revoke.Config) *revoke.List {
	t.Helper()
	if cfg.MaxSkew == 0 {
		cfg.MaxSkew = quick.MaxSkew
	}
	l, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func waitFresh(t *testing.T, fs ...*bus.Member) {
	t.Helper()
	for _, f := range fs {
		if err := f.WaitFresh(within(t)); err != nil {
			t.Fatalf("%v; status %+v", err, f.Status())
		}
	}
}

func barrier(t *testing.T, f *bus.Member) {
	t.Helper()
	if err := f.Barrier(within(t)); err != nil {
		t.Fatalf("%v; status %+v", err, f.Status())
	}
}

func publish(t *testing.T, b *bus.Member, e revoke.Event) bus.Receipt {
	t.Helper()
	r, err := b.Publish(within(t), e)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// revokeSession publishes a session event with a publisher of its own, which knows
// nothing of what others published, and returns the token of that session.
func revokeSession(t *testing.T, url, sid string) revoke.Identity {
	t.Helper()
	b := join(t, dial(t, url), bus.Config{}, nil)
	defer b.Close()
	publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
	return session(sid)
}

// session is a token of that session.
func session(sid string) revoke.Identity {
	return revoke.Identity{Issuer: issuer, Session: sid, Subject: "user", Token: "jti-" + sid, IssuedAt: time.Now()}
}

func check(l *revoke.List, id revoke.Identity) error {
	return l.Check(revoke.Now(), &id, revoke.Deny())
}

func refused(l *revoke.List, id revoke.Identity) bool {
	return errors.Is(check(l, id), revoke.ErrRevoked)
}

func mustRefuse(t *testing.T, l *revoke.List, ids ...revoke.Identity) {
	t.Helper()
	for _, id := range ids {
		if err := check(l, id); !errors.Is(err, revoke.ErrRevoked) {
			t.Fatalf("session %s: got %v, want it revoked", id.Session, err)
		}
	}
}

// mustPass asks again while the replica is stale: a barrier proves the instant at which it
// began, which an election and a busy machine may have left further behind than MaxStaleness.
func mustPass(t *testing.T, l *revoke.List, ids ...revoke.Identity) {
	t.Helper()
	for _, id := range ids {
		askUntil(t, "session "+id.Session+" passes", func(context.Context) error {
			err := check(l, id)
			if err != nil && !errors.Is(err, revoke.ErrStale) {
				t.Fatalf("session %s: %v", id.Session, err)
			}
			return err
		})
	}
}

// plain returns an ordinary NATS client.
func plain(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	var nc *nats.Conn
	askUntil(t, "connected to "+url, func(context.Context) (err error) { // within its own two seconds
		nc, err = nats.Connect(url, opts...)
		return err
	})
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// theStream is the bus's stream, and its state now.
func theStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	return streamNamed(t, js, bus.DefaultStream)
}

// held counts the messages of the stream by subject, of those that match filter.
func held(t *testing.T, js jetstream.JetStream, stream, filter string) map[string]uint64 {
	t.Helper()
	var info *jetstream.StreamInfo
	askUntil(t, "stream "+stream+" tells what it holds", func(ctx context.Context) error {
		s, err := js.Stream(ctx, stream)
		if err == nil {
			info, err = s.Info(ctx, jetstream.WithSubjectFilter(filter))
		}
		return err
	})
	return info.State.Subjects
}

func streamNamed(t *testing.T, js jetstream.JetStream, name string) (s jetstream.Stream) {
	t.Helper()
	askUntil(t, "stream "+name+" is there", func(ctx context.Context) (err error) {
		s, err = js.Stream(ctx, name)
		return err
	})
	return s
}

func lastSequence(t *testing.T, url string) uint64 {
	t.Helper()
	_, js := plain(t, url)
	return theStream(t, js).CachedInfo().State.LastSeq
}

func consumers(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	return theStream(t, js).CachedInfo().State.Consumers
}

// A journal is a logger that remembers.
type journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "")
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	return len(p), nil
}

// count returns how many lines contain all of the words.
func (j *journal) count(words ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
next:
	for _, line := range j.lines {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}
