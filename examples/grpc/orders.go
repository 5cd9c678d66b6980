package main

import (
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hybridtoken/hybridtoken/token"
)

// orders is the service. Who calls is in the claims, never in the request.
type orders struct {
	closing chan struct{} // closed when the server is to end

	mu      sync.Mutex
	byUser  map[string][]string
	changed chan struct{} // closed at the next order
}

func newOrders() *orders {
	return &orders{closing: make(chan struct{}), byUser: map[string][]string{}, changed: make(chan struct{})}
}

// caller returns whose token came with a call. There is none where a method is configured as public.
func caller(ctx context.Context) (string, error) {
	claims, ok := token.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Internal, "a method that needs a token is public")
	}
	return claims.Subject(), nil
}

// list returns the caller's orders.
func (o *orders) list(ctx context.Context, _ *emptypb.Empty) (*wrapperspb.StringValue, error) {
	user, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return wrapperspb.String(strings.Join(o.byUser[user], ", ")), nil
}

// place adds an order for the caller.
func (o *orders) place(ctx context.Context, what *wrapperspb.StringValue) (*emptypb.Empty, error) {
	if what.GetValue() == "" {
		return nil, status.Error(codes.InvalidArgument, "an order of nothing")
	}
	user, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.byUser[user] = append(o.byUser[user], what.GetValue())
	close(o.changed)
	o.changed = make(chan struct{})
	return new(emptypb.Empty), nil
}

// follow sends the caller's orders, and those to come, for as long as the caller listens and the
// token is good: the context of the stream ends with it.
func (o *orders) follow(_ *emptypb.Empty, stream grpc.ServerStream) error {
	user, err := caller(stream.Context())
	if err != nil {
		return err
	}
	for sent := 0; ; {
		o.mu.Lock()
		news, changed := slices.Clone(o.byUser[user][sent:]), o.changed
		o.mu.Unlock()
		for _, order := range news {
			if err := stream.SendMsg(wrapperspb.String(order)); err != nil {
				return err
			}
			sent++
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-o.closing:
			return status.Error(codes.Unavailable, "the server ends")
		}
	}
}

// ordersService says what protoc would have made of
//
//	service Orders {
//	  rpc List(google.protobuf.Empty) returns (google.protobuf.StringValue);
//	  rpc Place(google.protobuf.StringValue) returns (google.protobuf.Empty);
//	  rpc Follow(google.protobuf.Empty) returns (stream google.protobuf.StringValue);
//	}
//
// so that this example needs nothing but Go. Your code has it generated.
var ordersService = grpc.ServiceDesc{
	ServiceName: "shop.Orders",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{unary("List", (*orders).list), unary("Place", (*orders).place)},
	Streams: []grpc.StreamDesc{{StreamName: "Follow", ServerStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
		in := new(emptypb.Empty)
		if err := stream.RecvMsg(in); err != nil {
			return err
		}
		return srv.(*orders).follow(in, stream)
	}}},
}

// unary calls the interceptor itself: of unary methods, unlike of streams, the server leaves that to
// the generated code.
func unary[In, Out any](name string, do func(*orders, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, in any) (any, error) { return do(srv.(*orders), ctx, in.(*In)) }
		if intercept == nil {
			return call(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/shop.Orders/" + name}, call)
	}}
}
