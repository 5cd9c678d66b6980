package grpctoken_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

func incoming(ctx context.Context, authorization string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", authorization))
}

// The health service stands for one of your own: its unary method Check for everybody
// who has a token, its streaming method Watch for those with a scope, until the token's
// user is revoked.
func ExampleNew() {
	users := tokentest.New(new(testing.T)) // in production: token.NewVerifier
	auth, err := grpctoken.New(grpctoken.Config{
		Verifier: users.Verifier,
		Methods: map[string][]token.VerifyOption{
			"/grpc.health.v1.Health/Watch": {token.RequireScope("orders:watch")},
		},
		Public: []string{"/grpc.health.v1.Health/List"},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(auth.Unary()), grpc.StreamInterceptor(auth.Stream()))
	healthpb.RegisterHealthServer(server, health.NewServer())
	if err := auth.Check(server); err != nil { // is everything in Methods and Public spelt as the server has it?
		log.Fatal(err)
	}
	listener := bufconn.Listen(1 << 16)
	go server.Serve(listener)
	defer server.Stop()

	// The client. Beyond a demonstration tokens travel over TLS alone.
	conn, err := grpc.NewClient("passthrough:server", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	with := func(raw string) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+raw)
	}

	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println("no token:", status.Code(err))
	_, err = client.Check(with(users.Token()), &healthpb.HealthCheckRequest{})
	fmt.Println("a token:", status.Code(err))
	watch := func(raw string) func() error {
		stream, err := client.Watch(with(raw), &healthpb.HealthCheckRequest{})
		if err != nil {
			log.Fatal(err)
		}
		return func() error { _, err := stream.Recv(); return err }
	}
	fmt.Println("without the scope:", status.Code(watch(users.Token())()))
	next := watch(users.Token(tokentest.Subject("user-1"), tokentest.Scope("orders:watch")))
	fmt.Println("with the scope:", status.Code(next()))
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1"})
	fmt.Println("the stream, after a revocation:", status.Code(next()))
	// Output:
	// no token: Unauthenticated
	// a token: OK
	// without the scope: PermissionDenied
	// with the scope: OK
	// the stream, after a revocation: Unauthenticated
}
