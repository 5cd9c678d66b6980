package grpctoken_test

import (
	"context"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
)

func incoming(ctx context.Context, authorization string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", authorization))
}

func ExampleNew() {
	var verifier *token.Verifier // of token.NewVerifier

	auth, err := grpctoken.New(grpctoken.Config{
		Verifier: verifier,
		Methods: map[string][]token.VerifyOption{
			"/shop.Orders/Cancel": {token.RequireScope("orders:write")},
		},
		Public: []string{"/grpc.health.v1.Health/Check"},
	})
	if err != nil {
		log.Println(err) // here, because there is no verifier
		return
	}
	grpc.NewServer(grpc.UnaryInterceptor(auth.Unary()), grpc.StreamInterceptor(auth.Stream()))
}
