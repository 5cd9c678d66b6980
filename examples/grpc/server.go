package main

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
)

// serveOrders serves gRPC until ctx ends. It verifies tokens by itself, against a replica of the
// denylist of its own.
func serveOrders(ctx context.Context, nats *embedded.Server, issuer string, log *slog.Logger, tune func(*grpctoken.Config), ready func(address string)) error {
	list, err := revoke.NewList(revoke.Config{Logger: log})
	if err != nil {
		return err
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: nats, List: list, Name: "orders", Logger: log})
	if err != nil {
		return err
	}
	defer member.Close()
	keys, err := token.NewRemoteKeySet(ctx, issuer+"/.well-known/jwks.json", token.RemoteKeySetConfig{
		InsecureAllowHTTP: true, // a socket of this machine; https everywhere else
		Logger:            log,
	})
	if err != nil {
		return err
	}
	defer keys.Close()
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, OwnIssuer: true, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA},
		Keys: keys, Revocations: list, Logger: log,
	})
	if err != nil {
		return err
	}

	// Every method needs a token, these two a scope as well.
	cfg := grpctoken.Config{
		Verifier: verifier,
		Methods: map[string][]token.VerifyOption{
			"/shop.Orders/Place":  {token.RequireScope("orders:write")},
			"/shop.Orders/Follow": {token.RequireScope("orders:read")},
		},
		Public: []string{healthpb.Health_Check_FullMethodName, healthpb.Health_List_FullMethodName, healthpb.Health_Watch_FullMethodName},
		Logger: log,
	}
	if tune != nil {
		tune(&cfg)
	}
	tokens, err := grpctoken.New(cfg)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(tokens.Unary()), grpc.StreamInterceptor(tokens.Stream())) // and TLS
	shop := newOrders()
	server.RegisterService(&ordersService, shop)
	healthpb.RegisterHealthServer(server, health.NewServer())
	if err := tokens.Check(server); err != nil { // a misspelt method would be open to everybody with a token
		return err
	}
	if err := member.WaitFresh(ctx); err != nil { // until then every call is codes.Unavailable
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		close(shop.closing) // open streams would hold up GracefulStop for ever
		patience := time.AfterFunc(5*time.Second, server.Stop)
		defer patience.Stop()
		server.GracefulStop()
	}()
	ready(l.Addr().String())
	if err := server.Serve(l); err != nil {
		return err
	}
	<-stopped // Serve returns when GracefulStop begins
	return nil
}
