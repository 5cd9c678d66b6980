package token_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// events sends an event and waits for the end of its request.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, "data: hello\n\n")
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// talk takes its connection over, as a WebSocket does, and lives on after its handler.
func talk(v *token.Verifier, left *sync.WaitGroup) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\ndata: hello\n\n")
		buffered.Flush()
		ctx, stop := v.Watch(context.WithoutCancel(r.Context()), claims)
		context.AfterFunc(ctx, func() { conn.Close() })
		left.Go(func() {
			defer stop()
			io.Copy(io.Discard, conn)
		})
	}
}

// A client's end of a connection.
type client struct {
	net.Conn
	ended atomic.Int64 // unix nanoseconds; 0: not yet
}

func dial(t *testing.T, server *httptest.Server, path, raw string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", path, raw)
	c := &client{Conn: conn}
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if strings.Contains(line, "hello") {
			break
		}
	}
	go func() {
		io.Copy(io.Discard, in)
		c.ended.Store(time.Now().UnixNano())
	}()
	return c
}

// Real connections, half of them server-sent events, half taken over from their handlers:
// each ends, and its client sees it, when an event names it, and not before.
// HYBRIDTOKEN_CONNECTIONS says how many.
func TestConnectionsEndWithTheirTokens(t *testing.T) {
	n := 200
	if s := os.Getenv("HYBRIDTOKEN_CONNECTIONS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 10 {
			t.Fatalf("HYBRIDTOKEN_CONNECTIONS is %q", s)
		}
	}
	auth := tokentest.New(t)
	var left sync.WaitGroup
	mux := http.NewServeMux()
	mux.Handle("/events", auth.Verifier.Middleware(http.HandlerFunc(events), token.WithGrace(0)))
	mux.Handle("/talk", auth.Verifier.Middleware(talk(auth.Verifier, &left)))
	server := httptest.NewServer(mux)
	defer server.Close()
	defer server.CloseClientConnections() // of handlers that still wait, where the test fails
	clients := make([]*client, n)
	for i := range clients {
		raw := auth.Token(tokentest.Subject(fmt.Sprint("user-", i/4)), func(r *issue.Request) { r.Session = fmt.Sprint("session-", i) })
		clients[i] = dial(t, server, []string{"/events", "/talk"}[i%2], raw)
	}
	deadline := time.Now().Add(time.Minute)
	for { // the last handler may not have got so far
		if _, live, _ := auth.Verifier.Watching(); live == n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not all are watched")
		}
		time.Sleep(time.Millisecond)
	}
	gone := map[int]bool{}
	end := func(e revoke.Event, which ...int) {
		t.Helper()
		auth.Revoke(e)
		applied, last := time.Now().UnixNano(), int64(0)
		deadline := time.Now().Add(time.Minute)
		for _, i := range which {
			gone[i] = true
			for clients[i].ended.Load() == 0 {
				if time.Now().After(deadline) {
					t.Fatalf("%s %s: connection %d does not end", e.Kind, e.Value, i)
				}
				time.Sleep(100 * time.Microsecond)
			}
			last = max(last, clients[i].ended.Load()-applied)
		}
		for i, c := range clients {
			if c.ended.Load() != 0 && !gone[i] {
				t.Fatalf("%s %s ended connection %d, too", e.Kind, e.Value, i)
			}
		}
		t.Logf("%s: %d of %d connections had ended %s after it was applied", e.Kind, len(which), n, time.Duration(last))
	}
	end(revoke.Event{Kind: revoke.KindSession, Value: "session-1"}, 1)
	end(revoke.Event{Kind: revoke.KindSession, Value: "session-2"}, 2)
	end(revoke.Event{Kind: revoke.KindSession, Value: "nobody's"})
	end(revoke.Event{Kind: revoke.KindSubject, Value: "user-1"}, 4, 5, 6, 7)
	clients[8].Close() // the client's own end
	clients[9].Close()
	gone[8], gone[9] = true, true
	for {
		if _, live, _ := auth.Verifier.Watching(); live == n-8 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("closed connections are still watched")
		}
		time.Sleep(time.Millisecond)
	}
	var rest []int
	for i := range clients {
		if !gone[i] {
			rest = append(rest, i)
		}
	}
	end(revoke.Event{Kind: revoke.KindIssuer}, rest...)
	server.Close() // waits for the handlers
	left.Wait()
	if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 {
		t.Errorf("%d, %d, %d are left", young, live, keys)
	}
}

// A download whose handler waits in Write, because its client does not read, is cut off by
// a deadline that the context's end sets.
func TestDownloadIsCutOff(t *testing.T) {
	auth := tokentest.New(t)
	began, result := make(chan struct{}), make(chan error, 2)
	server := httptest.NewServer(auth.Verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		context.AfterFunc(r.Context(), func() { c.SetWriteDeadline(time.Unix(1, 0)) })
		close(began)
		_, err := io.Copy(w, bottomless{})
		result <- err
		result <- context.Cause(r.Context())
	}), token.WithGrace(0)))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+auth.Token())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-began
	auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the copy: %v", err)
	}
	if err := <-result; !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("cause: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the client takes what it has for the whole")
	}
}

type bottomless struct{}

func (bottomless) Read(b []byte) (int, error) { return len(b), nil }
