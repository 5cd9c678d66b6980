package benchmarks_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// A stored is a kind of session store to measure.
type stored struct {
	name string
	open func(b *testing.B) refresh.Store
}

var storeKinds = []stored{
	{"memory", func(*testing.B) refresh.Store { return refresh.NewMemoryStore() }},
	{"natskv-1", func(b *testing.B) refresh.Store { return openKV(b, 1) }},
	{"natskv-3", func(b *testing.B) refresh.Store { return openKV(b, 3) }},
}

// openKV opens a bucket on so many servers in this process, on file, every write
// synced.
func openKV(b *testing.B, replicas int) *natskv.Store {
	b.Helper()
	nc := startServers(b, replicas)
	for end := time.Now().Add(time.Minute); ; {
		ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
		err := natskv.CreateBucket(ctx, nc, natskv.BucketConfig{Replicas: replicas, MaxBytes: 8 << 30})
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			b.Fatal(err)
		}
	}
	s, err := natskv.New(b.Context(), nc, natskv.Config{})
	return load.Must(s, err)
}

func startServers(b *testing.B, n int) *nats.Conn {
	b.Helper()
	ports := make([]int, n)
	var routes []*url.URL
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		ln = load.Must(ln, err)
		ports[i] = ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", ports[i])})
	}
	var urls []string
	for i, port := range ports {
		o := &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, StoreDir: b.TempDir(),
			JetStream: true, SyncAlways: true, NoSigs: true, NoLog: true,
		}
		if n > 1 {
			o.Cluster, o.Routes = server.ClusterOpts{Name: "bench", Host: "127.0.0.1", Port: port}, routes
		}
		srv, err := server.NewServer(o)
		srv = load.Must(srv, err)
		srv.Start()
		b.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
		if !srv.ReadyForConnections(time.Minute) {
			b.Fatal("server not ready")
		}
		urls = append(urls, srv.ClientURL())
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1))
	nc = load.Must(nc, err)
	b.Cleanup(nc.Close)
	return nc
}

func newManager(b *testing.B, s refresh.Store, lives refresh.Lifetimes) *refresh.Manager {
	b.Helper()
	list, err := revoke.NewList(revoke.Config{Local: true})
	m, err := refresh.NewManager(refresh.Config{Issuer: load.NewParty(token.EdDSA).Issuer, Store: s, Revocations: load.Must(list, err), Lifetimes: lives})
	m = load.Must(m, err)
	b.Cleanup(func() { m.Close() })
	return m
}

func login(b *testing.B, m *refresh.Manager, user string) *refresh.Grant {
	b.Helper()
	g, err := m.Login(b.Context(), refresh.Login{
		Subject: user, Client: "web", Audience: []string{"orders"}, AuthTime: time.Now(), Scope: []string{"orders.read", "orders.write"},
		Device: refresh.Device{Label: "Firefox on Linux", Address: "192.0.2.1"},
	})
	return load.Must(g, err)
}

// inFlight is how many refreshes are under way at a time: an instance serves many
// users.
const inFlight = 32

// BenchmarkRefresh compares a refresh, which reads the session and its subject, signs
// an access token and replaces the session's record, with one compare-and-set of a
// record as large. Both have 32 under way at a time, each on another session; one
// piece is such a batch. The grace window is short, so that each round finds the
// sessions without one, with what follows of it: the sealed successors are erased by
// another write, which is part of the price, like the garbage that a benchmark makes.
func BenchmarkRefresh(b *testing.B) {
	for _, kind := range storeKinds {
		for _, grace := range []time.Duration{0, 100 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/grace=%s", kind.name, grace), func(b *testing.B) {
				s := kind.open(b)
				lives := refresh.Web
				lives.Grace = grace
				m := newManager(b, s, lives)
				sessions := 4096 // enough for none to be refreshed 16 times within its window
				if kind.name != "memory" {
					sessions = 1024
				}
				tokens, names, revisions := make([]string, sessions), make([]string, sessions), make([]uint64, sessions)
				value := make([]byte, 700) // as a session's
				batch(sessions, func(i int) {
					tokens[i] = login(b, m, fmt.Sprint("user-", i)).RefreshToken()
					names[i] = "bare." + rand.Text()
					n, err := s.Save(b.Context(), names[i], value, 0, time.Now().Add(time.Hour))
					revisions[i] = load.Must(n, err)
				})
				one := func(do func(i int)) func(int) {
					return func(piece int) { batch(inFlight, func(i int) { do((piece*inFlight + i) % sessions) }) }
				}
				save := one(func(i int) {
					n, err := s.Save(b.Context(), names[i], value, revisions[i], time.Now().Add(time.Hour))
					if err != nil {
						b.Error(err)
					}
					revisions[i] = n
				})
				rotate := one(func(i int) {
					g, err := m.Refresh(b.Context(), refresh.Request{Token: tokens[i], Client: "web"})
					if err != nil {
						b.Error(err)
						return
					}
					tokens[i] = g.RefreshToken()
				})
				pieces := 1
				if kind.name == "memory" {
					pieces = 8
				}
				rounds(b, pieces, contender{Name: "save32", Work: save}, contender{Name: "refresh32", Work: rotate})
			})
		}
	}
}

// batch calls do for 0 to n − 1, inFlight at a time.
func batch(n int, do func(i int)) {
	var wg sync.WaitGroup
	for w := range min(n, inFlight) {
		wg.Go(func() {
			for i := w; i < n; i += inFlight {
				do(i)
			}
		})
	}
	wg.Wait()
}

// sessionsEnv is how many sessions BenchmarkSessions has in a bucket; 100,000 unless
// it is set. In memory there are always a million.
const sessionsEnv = "HYBRIDTOKEN_BENCH_SESSIONS"

// BenchmarkSessions lists a subject's ten sessions in a store of a thousand sessions
// and in one of very many. The others are records as large as a session's, since a
// store does not know what it holds.
func BenchmarkSessions(b *testing.B) {
	many := 100_000
	if s := os.Getenv(sessionsEnv); s != "" {
		n, err := strconv.Atoi(s)
		many = load.Must(n, err)
	}
	b.Run("memory", func(b *testing.B) {
		value := make([]byte, 700)
		listing(b, 1_000_000, 50, func(b *testing.B, n int) refresh.Store {
			s := refresh.NewMemoryStore()
			for range n {
				r, err := s.Save(b.Context(), "s."+rand.Text()+rand.Text()[:17], value, 0, time.Now().Add(time.Hour))
				load.Must(r, err)
			}
			return s
		})
	})
	b.Run("natskv-1", func(b *testing.B) {
		listing(b, many, 1, func(b *testing.B, n int) refresh.Store {
			nc := startServers(b, 1)
			if err := natskv.CreateBucket(b.Context(), nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 8 << 30}); err != nil {
				b.Fatal(err)
			}
			fill(b, nc, n)
			s, err := natskv.New(b.Context(), nc, natskv.Config{})
			return load.Must(s, err)
		})
	})
}

func listing(b *testing.B, many, pieces int, open func(b *testing.B, n int) refresh.Store) {
	var list []contender
	for _, n := range []int{1000, many} {
		m := newManager(b, open(b, n), refresh.Web)
		for range 10 {
			login(b, m, "user")
		}
		list = append(list, contender{Name: fmt.Sprintf("among%d", n), Work: func(int) {
			got, err := m.Sessions(b.Context(), "user")
			if err != nil || len(got) != 10 {
				b.Errorf("%d sessions, %v", len(got), err)
			}
		}})
	}
	rounds(b, pieces, list...)
}

// fill writes records as natskv does, but many before the first is acknowledged.
func fill(b *testing.B, nc *nats.Conn, n int) {
	b.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096))
	js = load.Must(js, err)
	value := make([]byte, 700)
	futures := make([]jetstream.PubAckFuture, 0, n)
	for range n {
		f, err := js.PublishAsync("$KV.sessions.s."+rand.Text()+rand.Text()[:17], value, jetstream.WithMsgTTL(time.Hour), jetstream.WithStallWait(time.Minute))
		futures = append(futures, load.Must(f, err))
	}
	<-js.PublishAsyncComplete()
	for _, f := range futures {
		select {
		case err := <-f.Err():
			b.Fatal(err)
		case <-f.Ok():
		default:
			b.Fatal(errors.New("a record was not acknowledged"))
		}
	}
}
