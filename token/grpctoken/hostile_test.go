package grpctoken_test

import (
	"context"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/issue"
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

// A panic of a caller's KeySet, asked about an idle stream in a goroutine of ours, would end
// the process: the stream ends instead. So does one about a message.
func TestPanickingKeysEndTheStream(t *testing.T) {
	keys := new(panickingKeys)
	auth := tokentest.New(t, func(c *token.VerifierConfig) {
		keys.KeySet = c.Keys
		c.Keys = keys
	})
	r := newRig(t, auth.Verifier, nil)
	ctx := with(t.Context(), "Bearer "+auth.Token())
	idle, busy := r.stream(t, ctx, chat), r.stream(t, ctx, chat)
	say(t, idle, "before") // the good twin
	say(t, busy, "before")
	keys.panics.Store(true)
	if err := busy.SendMsg(wrapperspb.String("after")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []grpc.ClientStream{busy, idle} {
		if err := s.RecvMsg(nil); !is(err, codes.Unavailable, "temporarily_unavailable") {
			t.Errorf("error %v", err)
		}
	}
}

type panickingKeys struct {
	token.KeySet
	panics atomic.Bool
}

func (p *panickingKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	if p.panics.Load() {
		panic("keys")
	}
	return p.KeySet.Lookup(ctx, kid, alg)
}

// A unary call that goes on ends with its token, too, once its grace is over; anyone who calls is
// told the truth about it, and of no other end.
func TestUnaryEndsWithItsToken(t *testing.T) {
	auth := tokentest.New(t)
	i, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{echo: {token.WithGrace(0)}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(incoming(t.Context(), "Bearer "+auth.Token()))
	defer cancel()
	call := func(method string, during func()) (any, error) {
		return i.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			if subject(ctx) != "user-1" {
				t.Error("no claims")
			}
			done := ctx.Done()
			during()
			if method == chat { // which has the usual grace
				return "done", ctx.Err()
			}
			<-done
			return nil, ctx.Err()
		})
	}
	revoked := func() { auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"}) }
	if out, err := call(chat, revoked); err != nil || out != "done" {
		t.Errorf("a short call: %v, %v", out, err)
	}
	ctx = incoming(ctx, "Bearer "+auth.Token(func(r *issue.Request) { r.Session = "session-2" }))
	if _, err := call(echo, func() { auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-2"}) }); !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("revoked: %v", err)
	}
	ctx = incoming(ctx, "Bearer "+auth.Token(func(r *issue.Request) { r.Session = "session-3" }))
	if _, err := call(echo, cancel); err != context.Canceled {
		t.Errorf("the caller's end: %v", err)
	}
}
