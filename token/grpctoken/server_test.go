package grpctoken_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
)

// The methods of the service under test.
const (
	echo   = "/test.Test/Echo"   // unary: answers with the subject of the claims
	open   = "/test.Test/Open"   // the same, public
	chat   = "/test.Test/Chat"   // both ways: answers each message with itself
	listen = "/test.Test/Listen" // sends nothing until its context ends
	hoard  = "/test.Test/Hoard"  // sees its context end and calls it a success
)

type server struct {
	handler func(grpc.ServerStream) error // of the stream methods, in place of their own
	mu      sync.Mutex
	seen    []string // messages that handlers got
}

func (s *server) saw(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, text)
}

func subject(ctx context.Context) string {
	if c, ok := token.FromContext(ctx); ok {
		return c.Subject()
	}
	return "nobody"
}

func unary(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor, method string) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := dec(in); err != nil {
		return nil, err
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, func(ctx context.Context, req any) (any, error) {
		srv.(*server).saw(req.(*wrapperspb.StringValue).Value)
		return wrapperspb.String(subject(ctx)), nil
	})
}

func (s *server) chat(ss grpc.ServerStream) error {
	for {
		m := new(wrapperspb.StringValue)
		if err := ss.RecvMsg(m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		s.saw(m.Value)
		if err := ss.SendMsg(m); err != nil {
			return err
		}
	}
}

var desc = &grpc.ServiceDesc{
	ServiceName: "test.Test", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Echo", Handler: func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			return unary(srv, ctx, dec, i, echo)
		}},
		{MethodName: "Open", Handler: func(srv any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			return unary(srv, ctx, dec, i, open)
		}},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
			if h := srv.(*server).handler; h != nil {
				return h(ss)
			}
			return srv.(*server).chat(ss)
		}},
		{StreamName: "Listen", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return context.Cause(ss.Context())
		}},
		{StreamName: "Hoard", ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return nil
		}},
	},
}

// A rig is a server behind an Interceptor, and a client of it.
type rig struct {
	*server
	conn   *grpc.ClientConn
	logged lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newRig(t testing.TB, v grpctoken.Verifier, change func(*grpctoken.Config), certs ...tls.Certificate) *rig {
	t.Helper()
	r := &rig{server: &server{}}
	cfg := grpctoken.Config{
		Verifier: v, Public: []string{open},
		Methods: map[string][]token.VerifyOption{},
		Logger:  slog.New(slog.NewTextHandler(&r.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	i, err := grpctoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	serverCreds, clientCreds := insecure.NewCredentials(), insecure.NewCredentials()
	if len(certs) > 0 {
		serverCreds = credentials.NewTLS(&tls.Config{Certificates: certs[:1], ClientAuth: tls.RequestClientCert})
		clientCreds = credentials.NewTLS(&tls.Config{Certificates: certs[1:], InsecureSkipVerify: true}) // whose server it is does not matter here
	}
	srv := grpc.NewServer(grpc.Creds(serverCreds), grpc.UnaryInterceptor(i.Unary()), grpc.StreamInterceptor(i.Stream()))
	srv.RegisterService(desc, r.server)
	l := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(l) }()
	r.conn, err = grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(clientCreds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.conn.Close()
		srv.Stop()
		<-served
		if strings.Contains(r.logged.String(), "eyJ") {
			t.Errorf("the log holds a token (invariant 10): %s", r.logged.String())
		}
	})
	return r
}

// with returns a context with those authorization metadata.
func with(ctx context.Context, authorization ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	return metadata.NewOutgoingContext(ctx, md)
}

func (r *rig) call(ctx context.Context, method string) (string, error) {
	out := new(wrapperspb.StringValue)
	err := r.conn.Invoke(ctx, method, wrapperspb.String("hello"), out)
	return out.Value, err
}

func (r *rig) stream(t testing.TB, ctx context.Context, method string) grpc.ClientStream {
	t.Helper()
	s, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func is(err error, code codes.Code, message string) bool {
	s := status.Convert(err)
	return s.Code() == code && s.Message() == message
}

// goroutines waits until there are no more than n, and returns how many there are.
func goroutines(n int) int {
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > n && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	return runtime.NumGoroutine()
}
