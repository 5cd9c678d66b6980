package token_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// receive sends a request with a token and returns what the server says from its body on, line
// by line.
func receive(server *httptest.Server, raw string) *bufio.Scanner {
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", raw)
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "" {
	}
	return lines
}

// Server-sent events end with the token of their request: the handler waits for its
// context, as it has to for a client that goes away.
func ExampleWithGrace() {
	users := tokentest.New(new(testing.T)) // in production: token.NewVerifier
	watched := make(chan struct{})
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "data: hello\n\n")
		http.NewResponseController(w).Flush()
		done := r.Context().Done()
		close(watched)
		<-done
		fmt.Println("revoked:", errors.Is(context.Cause(r.Context()), revoke.ErrRevoked))
	})
	// Without the option it is interrupted after 5 s at the earliest.
	server := httptest.NewServer(users.Verifier.Middleware(events, token.WithGrace(0)))

	stream := receive(server, users.Token(tokentest.Subject("user-1")))
	stream.Scan()
	fmt.Println(stream.Text())
	<-watched
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Reason: "password_change"})
	for stream.Scan() {
	}
	server.Close()
	// Output:
	// data: hello
	// revoked: true
}

// A connection that its handler takes over, as a WebSocket's does, outlives the handler and
// the request's context. Watch ends it with its token.
func ExampleVerifier_Watch() {
	users := tokentest.New(new(testing.T)) // in production: token.NewVerifier
	served := make(chan struct{})
	server := httptest.NewServer(users.Verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			log.Fatal(err)
		}
		ctx, stop := users.Verifier.Watch(context.WithoutCancel(r.Context()), claims)
		context.AfterFunc(ctx, func() { conn.Close() })
		io.WriteString(conn, "HTTP/1.0 101 Switching Protocols\r\n\r\nhello\n")
		go func() {
			defer close(served)
			defer stop() // when it ends by itself
			io.Copy(io.Discard, conn)
			fmt.Println("revoked:", errors.Is(context.Cause(ctx), revoke.ErrRevoked))
		}()
	})))

	connection := receive(server, users.Token(func(r *issue.Request) { r.Session = "session-1" }))
	connection.Scan()
	fmt.Println(connection.Text())
	users.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1", Reason: "logout"})
	for connection.Scan() {
	}
	<-served
	server.Close()
	// Output:
	// hello
	// revoked: true
}

// A download whose client reads slowly, or not at all, waits in Write, and sees no context:
// its end sets a deadline.
func ExampleVerifier_Middleware_download() {
	users := tokentest.New(new(testing.T)) // in production: token.NewVerifier
	began, ended := make(chan struct{}), make(chan bool)
	server := httptest.NewServer(users.Verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		stop := context.AfterFunc(r.Context(), func() { c.SetWriteDeadline(time.Unix(1, 0)) })
		defer stop() // or it hits the next request of this connection
		close(began)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				ended <- errors.Is(context.Cause(r.Context()), revoke.ErrRevoked)
				return
			}
		}
	}), token.WithGrace(0)))

	receive(server, users.Token())
	<-began
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1"})
	fmt.Println("revoked:", <-ended)
	server.Close()
	// Output:
	// revoked: true
}
