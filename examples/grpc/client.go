package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A client calls the orders service as one user.
type client struct{ conn *grpc.ClientConn }

// dial returns a client that sends a token with each call.
func dial(address, token string) (*client, error) {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine; TLS everywhere else
		grpc.WithPerRPCCredentials(bearer(token)))
	return &client{conn}, err
}

func (c *client) list(ctx context.Context) (string, error) {
	out := new(wrapperspb.StringValue)
	err := c.conn.Invoke(ctx, "/shop.Orders/List", new(emptypb.Empty), out)
	return out.GetValue(), err
}

func (c *client) place(ctx context.Context, what string) error {
	return c.conn.Invoke(ctx, "/shop.Orders/Place", wrapperspb.String(what), new(emptypb.Empty))
}

// follow returns a function that waits for the next order.
func (c *client) follow(ctx context.Context) (next func() (string, error), err error) {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.Orders/Follow")
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(new(emptypb.Empty)); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return func() (string, error) {
		out := new(wrapperspb.StringValue)
		err := stream.RecvMsg(out)
		return out.GetValue(), err
	}, nil
}

// bearer is a token that goes with each call. An app that refreshes its token returns the one of the
// moment from GetRequestMetadata.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity returns false for this machine. True keeps the token off connections that
// others can read.
func (b bearer) RequireTransportSecurity() bool { return false }

func (b bearer) String() string { return "bearer token" }
