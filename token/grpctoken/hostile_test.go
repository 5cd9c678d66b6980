package grpctoken_test

import (
	"context"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A server may hand on the path of a request as the client wrote it. One without the
// slash at its beginning is the same method, and must not go without its demands
// (CVE-2026-33186, gRPC before 1.79.3).
func TestMethodWithoutItsSlash(t *testing.T) {
	auth := tokentest.New(t)
	i, err := grpctoken.New(grpctoken.Config{
		Verifier: auth.Verifier,
		Methods:  map[string][]token.VerifyOption{chat: {token.RequireScope("chat")}},
		Public:   []string{open},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		raw, method string
		code        codes.Code
	}{
		"the method":                    {auth.Token(), chat, codes.PermissionDenied},
		"without its slash":             {auth.Token(), chat[1:], codes.PermissionDenied},
		"with the scope":                {auth.Token(tokentest.Scope("chat")), chat, codes.OK},
		"with the scope, without slash": {auth.Token(tokentest.Scope("chat")), chat[1:], codes.OK},
	} {
		ctx := incoming(t.Context(), "Bearer "+x.raw)
		err := i.Stream()(nil, &panicking{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: x.method}, func(any, grpc.ServerStream) error { return nil })
		_, unaryErr := i.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: x.method}, func(context.Context, any) (any, error) { return nil, nil })
		message := map[codes.Code]string{codes.PermissionDenied: "insufficient_scope"}[x.code]
		if !is(err, x.code, message) || !is(unaryErr, x.code, message) {
			t.Errorf("%s: stream %v, unary %v", name, err, unaryErr)
		}
	}
}

// What a caller does to its slices after New changes no method's demands.
func TestMethodsAreCopied(t *testing.T) {
	auth := tokentest.New(t)
	demands := []token.VerifyOption{token.RequireScope("admin")}
	i, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{chat: demands}})
	if err != nil {
		t.Fatal(err)
	}
	demands[0] = token.RequireScope("read")
	for scope, code := range map[string]codes.Code{"read": codes.PermissionDenied, "admin": codes.OK} {
		ss := &panicking{ctx: incoming(t.Context(), "Bearer "+auth.Token(tokentest.Scope(scope)))}
		err := i.Stream()(nil, ss, &grpc.StreamServerInfo{FullMethod: chat}, func(any, grpc.ServerStream) error { return nil })
		if !is(err, code, map[codes.Code]string{codes.PermissionDenied: "insufficient_scope"}[code]) {
			t.Errorf("scope %s: error %v", scope, err)
		}
	}
}

// The check of an idle stream runs in a goroutine of ours, where a panic of a caller's
// KeySet would end the process: the stream ends instead.
func TestPanickingRecheckEndsTheStream(t *testing.T) {
	auth := tokentest.New(t)
	v := &panickingRecheck{Verifier: auth.Verifier}
	r := newRig(t, v, nil)
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	say(t, s, "before") // the good twin
	v.panics.Store(true)
	if err := s.RecvMsg(nil); !is(err, codes.Unavailable, "temporarily_unavailable") {
		t.Errorf("error %v", err)
	}
}

type panickingRecheck struct {
	*token.Verifier
	panics atomic.Bool
}

func (p *panickingRecheck) Recheck(ctx context.Context, c *token.Claims, opts ...token.VerifyOption) error {
	if p.panics.Load() {
		panic("keys")
	}
	return p.Verifier.Recheck(ctx, c, opts...)
}
