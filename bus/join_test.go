package bus

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A listener is a machine that takes connections, or lets them wait, and says nothing.
type silentListener struct {
	net.Listener
	taken chan net.Conn
}

func listenSilently(t *testing.T) *silentListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &silentListener{ln, make(chan net.Conn, 100)}
	go func() {
		defer close(l.taken)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.taken <- conn
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		for conn := range l.taken {
			conn.Close()
		}
	})
	return l
}

// ours counts the goroutines in which a Member or the client library is at work.
func ours() (n int, stacks string) {
	buf := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "nats.go") || strings.Contains(g, "bus/internal/transport") || strings.Contains(g, "bus/internal/follow") {
			n++
			stacks += g + "\n\n"
		}
	}
	return n, stacks
}

// over waits until no goroutine of a Member is left.
func over(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		n, stacks := ours()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left:\n%s", n, stacks)
		}
		runtime.Gosched()
	}
}

// Join does not wait for a server that takes the connection and says nothing, nor does Close,
// and nothing is left of the attempt, over a socket as in a program.
func TestJoinDoesNotWaitForAServer(t *testing.T) {
	for name, servers := range map[string]int{"one silent server": 1, "three silent servers": 3} {
		t.Run(name, func(t *testing.T) {
			l := listenSilently(t)
			list, err := revoke.NewList(revoke.Config{})
			if err != nil {
				t.Fatal(err)
			}
			urls := "nats://" + l.Addr().String()
			for range servers - 1 {
				urls += ",nats://" + listenSilently(t).Addr().String()
			}
			m, err := Join(t.Context(), Config{
				Servers: urls, Issuers: []string{testIssuer}, List: list,
				Options: []nats.Option{nats.Timeout(time.Hour), nats.DontRandomize()}, // the dial is held until Close ends it
			})
			if err != nil {
				t.Fatal(err)
			}
			held := <-l.taken
			if s := m.Status(); s.Connected || s.State != revoke.StateSyncing || s.Reason != revoke.ReasonConnecting || s.Closed {
				t.Errorf("%+v", s)
			}
			w := httptest.NewRecorder()
			m.Readiness(revoke.Deny()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			if w.Code != 503 || !strings.Contains(w.Body.String(), `"state":"syncing","reason":"connecting"`) {
				t.Errorf("ready: %d %s", w.Code, w.Body)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := m.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "sid"}); !errors.Is(err, ErrNotAcknowledged) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrKept) {
				t.Errorf("publish: %v", err)
			}
			if err := m.WaitFresh(ctx); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("wait until fresh: %v", err)
			}
			if err := m.Barrier(ctx); !errors.Is(err, revoke.ErrStale) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("barrier: %v", err)
			}
			m.Close() // for an hour, if it waited for the dial
			over(t)
			held.Close()
			m.Close()
			if _, err := m.Publish(t.Context(), revoke.Event{Kind: revoke.KindSession, Value: "sid"}); !errors.Is(err, ErrClosed) {
				t.Errorf("publish after Close: %v", err)
			}
		})
	}
}

// Nor does it wait for a machine that answers not even the dial, and neither does Close, where
// the user's dialer takes no context.
func TestJoinDoesNotWaitForADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &stuckDialer{dialed: 1, stuck: make(chan struct{}, 1), release: make(chan struct{})}
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		m, err := Join(t.Context(), Config{Servers: "nats://127.0.0.1:1,nats://127.0.0.1:2,nats://127.0.0.1:3", List: list, Options: []nats.Option{nats.SetCustomDialer(d)}})
		if err != nil {
			t.Fatal(err)
		}
		<-d.stuck
		m.Close()
		if took := time.Since(began); took != 0 { // of a clock that stands still unless all wait
			t.Errorf("took %s", took)
		}
		close(d.release)
	})
}

// A Member that was joined before its server is up works once it is, and says meanwhile
// why it is not connected.
func TestJoinBeforeTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s := scripted.New(t)
		s.Do(func() { s.Refuses, s.Carries = true, true })
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := Join(t.Context(), Config{
			Servers: "nats://127.0.0.1:4222,nats://127.0.0.1:4223", Issuers: []string{testIssuer}, List: list, Logger: log.Logger(),
			Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		published := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			_, err := m.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "sid"})
			published <- err
		}()
		time.Sleep(2 * time.Minute)
		if st := m.Status(); st.Connected || !errors.Is(st.Err, syscall.ECONNREFUSED) || st.Reason != revoke.ReasonConnecting {
			t.Errorf("%+v", st)
		}
		if n := log.Count("not connected; trying again"); n != 1 {
			t.Errorf("told %d times: %s", n, &log)
		}
		s.Do(func() { s.Refuses = false })
		if err := <-published; err != nil {
			t.Errorf("published before there was a connection: %v", err)
		}
		if err := m.WaitFresh(t.Context()); err != nil {
			t.Error(err)
		}
		if st := m.Status(); !st.Connected || st.Err != nil || st.State != revoke.StateFresh {
			t.Errorf("%+v", st)
		}
		m.Close()
	})
}

// A password that is wrong at first is tried again, read anew each time, and said so.
func TestJoinWithAPasswordThatIsWrongAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Password = "right"
		password := make(chan string, 1)
		password <- "wrong"
		m, err := Join(t.Context(), Config{Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer}, Options: []nats.Option{
			nats.SetCustomDialer(s), func(o *nats.Options) error {
				p := <-password
				password <- p
				return nats.UserInfo("auth", p)(o)
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(10 * time.Minute)
		if st := m.Status(); st.Connected || !errors.Is(st.Err, nats.ErrAuthorization) {
			t.Errorf("%+v", st)
		}
		<-password
		password <- "right"
		time.Sleep(31 * time.Second)
		if st := m.Status(); !st.Connected || st.Err != nil {
			t.Errorf("%+v", st)
		}
		m.Close()
	})
}

// What is published with an outbox before there is a connection is kept, and published when
// there is one.
func TestOutboxBeforeTheFirstConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted.New(t)
		s.Do(func() { s.Refuses = true })
		m, err := Join(t.Context(), Config{
			Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer}, OutboxFile: filepath.Join(t.TempDir(), "box"),
			Options: []nats.Option{nats.SetCustomDialer(s)},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Publish(ctx, revoke.Event{Kind: revoke.KindSession, Value: "the-sid"}); !errors.Is(err, ErrKept) || !errors.Is(err, ErrNotAcknowledged) {
			t.Fatalf("%v", err)
		}
		s.Do(func() { s.Refuses = false })
		time.Sleep(2 * time.Minute)
		if !s.Has("the-sid") {
			t.Error("not published")
		}
		m.Close()
	})
}

// A Config that cannot be meant is refused by Join itself, though it dials nobody: what the
// client library looks at only when it dials is looked at before.
func TestJoinRefusesWhatCannotBeMeant(t *testing.T) {
	notKeys := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(notKeys, []byte("nothing of the kind"), 0o600); err != nil {
		t.Fatal(err)
	}
	nkey := func(o *nats.Options) error { o.Nkey = "U"; return nil }
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"an unreadable URL":          {Config{Servers: "nats://a:secret@[::1"}, "unreadable"},
		"two protocols":              {Config{Servers: "ws://127.0.0.1:1,nats://127.0.0.1:2"}, "websocket"},
		"a missing credentials file": {Config{CredentialsFile: filepath.Join(t.TempDir(), "none")}, "CredentialsFile"},
		"a file of something else":   {Config{CredentialsFile: notKeys}, "CredentialsFile"},
		"a missing CA":               {Config{Options: []nats.Option{nats.RootCAs("/no/such/ca.pem")}}, "/no/such/ca.pem"},
		"an nkey that cannot sign":   {Config{Options: []nats.Option{nkey}}, "signature"},
		"a negative timeout":         {Config{Options: []nats.Option{nats.Timeout(-1)}}, "timeout"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted.New(t)
			cfg := c.cfg
			if cfg.Servers == "" {
				cfg.Servers = "nats://127.0.0.1:4222"
			}
			cfg.Issuers = []string{testIssuer}
			cfg.Options = append(cfg.Options, nats.SetCustomDialer(s))
			m, err := Join(t.Context(), cfg)
			if err == nil {
				m.Close()
			}
			attempts := 0
			s.Do(func() { attempts = len(s.Attempts) })
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) || strings.Contains(err.Error(), "secret") || attempts != 0 {
				t.Errorf("%s: %v after %d attempts", name, err, attempts)
			}
		})
	}
}
