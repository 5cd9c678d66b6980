package grpctoken_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

func say(t testing.TB, s grpc.ClientStream, text string) string {
	t.Helper()
	if err := s.SendMsg(wrapperspb.String(text)); err != nil {
		t.Fatal(err)
	}
	m := new(wrapperspb.StringValue)
	if err := s.RecvMsg(m); err != nil {
		t.Fatal(err)
	}
	return m.Value
}

func TestStream(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, nil)
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	for _, text := range []string{"a", "b", "c"} {
		if got := say(t, s, text); got != text {
			t.Errorf("%q answered by %q", text, got)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for name, ctx := range map[string]context.Context{"none": t.Context(), "expired": with(t.Context(), "Bearer "+auth.Expired())} {
		if err := r.stream(t, ctx, chat).RecvMsg(nil); !is(err, codes.Unauthenticated, map[string]string{"none": "access token required", "expired": "invalid_token"}[name]) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// A message that comes after the revocation is not handed to the handler.
func TestStreamRevokedBetweenMessages(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, nil)
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	say(t, s, "before")
	auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	if err := s.SendMsg(wrapperspb.String("after")); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("error %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) != 1 || r.seen[0] != "before" {
		t.Errorf("the handler saw %q", r.seen)
	}
}

// And what a handler sends after it does not leave.
func TestStreamSendsNothingAfterRevocation(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, nil)
	result := make(chan error, 2)
	r.handler = func(ss grpc.ServerStream) error {
		if err := ss.SendMsg(wrapperspb.String("before")); err != nil {
			return err
		}
		auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
		result <- ss.SendMsg(wrapperspb.String("after"))
		result <- ss.Context().Err()
		return nil
	}
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	m := new(wrapperspb.StringValue)
	if err := s.RecvMsg(m); err != nil || m.Value != "before" {
		t.Fatal(m.Value, err)
	}
	if err := s.RecvMsg(m); !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("%q, error %v", m.Value, err)
	}
	if err := <-result; !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("SendMsg: error %v", err)
	}
	if err := <-result; err != context.Canceled {
		t.Errorf("the context: %v", err)
	}
}

// Streams that lie idle end too: one whose handler waits for a message, one whose
// handler waits for its context, one that calls that a success.
func TestIdleStreamEnds(t *testing.T) {
	for _, method := range []string{chat, listen, hoard} {
		auth := tokentest.New(t)
		r := newRig(t, auth.Verifier, nil)
		ctx := with(t.Context(), "Bearer "+auth.Token())
		s, other := r.stream(t, ctx, method), r.stream(t, with(t.Context(), "Bearer "+auth.Token(func(r *issue.Request) { r.Session = "session-2" })), chat)
		say(t, other, "a")
		if method == chat {
			say(t, s, "a")
		} else if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
		if err := s.RecvMsg(new(wrapperspb.StringValue)); !is(err, codes.Unauthenticated, "invalid_token") {
			t.Errorf("%s: error %v", method, err)
		}
		if got := say(t, other, "b"); got != "b" {
			t.Errorf("%s: another session's stream: %q", method, got)
		}
	}
}

func TestStreamEndsWhenTokenExpires(t *testing.T) {
	auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Leeway = time.Millisecond })
	r := newRig(t, auth.Verifier, nil)
	// On a busy machine a token of one second may be over before its stream is open.
	var s grpc.ClientStream
	for life := time.Second; ; life *= 4 {
		s = r.stream(t, with(t.Context(), "Bearer "+auth.Token(func(r *issue.Request) { r.Lifetime = life })), chat)
		err := s.SendMsg(wrapperspb.String("a"))
		if err == nil {
			err = s.RecvMsg(new(wrapperspb.StringValue))
		}
		if err == nil {
			break
		}
		if life > time.Minute || !is(err, codes.Unauthenticated, "invalid_token") && err != io.EOF {
			t.Fatal(err)
		}
	}
	long := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	say(t, long, "a")
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("error %v", err)
	}
	say(t, long, "b")
}

// Nothing is left of streams, however they ended.
func TestStreamsLeaveNoGoroutines(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, nil)
	warm := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	say(t, warm, "a")
	if err := warm.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := warm.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	var streams []grpc.ClientStream
	for n := range 60 {
		s := r.stream(t, with(ctx, "Bearer "+auth.Token(func(r *issue.Request) {
			if n%2 == 0 {
				r.Session = "session-2"
			}
		})), chat)
		say(t, s, "a")
		streams = append(streams, s)
	}
	if n := runtime.NumGoroutine(); n < before+60 {
		t.Fatalf("%d goroutines before, %d with 60 streams: does this test see any?", before, n)
	}
	auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	for n, s := range streams {
		if n%2 == 1 {
			if err := s.RecvMsg(new(wrapperspb.StringValue)); !is(err, codes.Unauthenticated, "invalid_token") {
				t.Errorf("stream %d: error %v", n, err)
			}
		}
	}
	cancel()
	if n := goroutines(before); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines before, %d after\n%s", before, n, buf[:runtime.Stack(buf, true)])
	}
}

// A panic below RecvMsg is the handler's, so that a recovering interceptor finds it.
func TestPanicStaysWithHandler(t *testing.T) {
	auth := tokentest.New(t)
	i, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier})
	if err != nil {
		t.Fatal(err)
	}
	ss := &panicking{ctx: incoming(t.Context(), "Bearer "+auth.Token())}
	var got any
	err = i.Stream()(nil, ss, &grpc.StreamServerInfo{FullMethod: chat}, func(_ any, ss grpc.ServerStream) error {
		defer func() { got = recover() }()
		return ss.RecvMsg(nil)
	})
	if got != "codec" || err != nil {
		t.Errorf("recovered %v, error %v", got, err)
	}
}

// A RecvMsg that is called again after the end does not reach the stream.
func TestRecvMsgAfterTheEnd(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, nil)
	result := make(chan error, 2)
	r.handler = func(ss grpc.ServerStream) error {
		for range 2 {
			result <- ss.RecvMsg(new(wrapperspb.StringValue))
		}
		return errors.New("the handler's own")
	}
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	if err := s.SendMsg(wrapperspb.String("a")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	if err := <-result; !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("error %v", err)
	}
	if err := s.RecvMsg(new(wrapperspb.StringValue)); !is(err, codes.Unauthenticated, "invalid_token") {
		t.Errorf("the client: error %v", err)
	}
}

// What a handler leaves running finds its context ended.
func TestContextEndsWithTheHandler(t *testing.T) {
	auth := tokentest.New(t)
	i, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier})
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ss := &panicking{ctx: incoming(t.Context(), "Bearer "+auth.Token())}
	err = i.Stream()(nil, ss, &grpc.StreamServerInfo{FullMethod: chat}, func(_ any, ss grpc.ServerStream) error {
		ctx = ss.Context()
		return ctx.Err()
	})
	if err != nil || ctx.Err() == nil || subject(ctx) != "user-1" {
		t.Errorf("error %v, the context %v", err, ctx.Err())
	}
}

type panicking struct {
	grpc.ServerStream
	ctx context.Context
}

func (p *panicking) Context() context.Context { return p.ctx }
func (p *panicking) RecvMsg(any) error        { panic("codec") }
