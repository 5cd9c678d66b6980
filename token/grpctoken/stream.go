package grpctoken

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/hybridtoken/hybridtoken/token"
)

// A stream ends when its token does.
type stream struct {
	grpc.ServerStream
	i      *Interceptor
	method string
	claims *token.Claims
	ctx    context.Context // the handler's; ends with the token
	cancel context.CancelCauseFunc

	ended  atomic.Pointer[error] // what the client is told, once the token is at its end
	unlook func() bool
	unhook context.CancelFunc
}

func (i *Interceptor) newStream(ss grpc.ServerStream, method string, claims *token.Claims) *stream {
	s := &stream{ServerStream: ss, i: i, method: method, claims: claims}
	watched, unhook := i.cfg.Verifier.Watch(ss.Context(), claims, i.cfg.Methods[method]...)
	ctx, cancel := context.WithCancelCause(ss.Context())
	s.ctx, s.cancel, s.unhook = token.NewContext(ctx, claims), cancel, unhook
	s.unlook = context.AfterFunc(watched, func() {
		if ss.Context().Err() == nil {
			s.end(context.Cause(watched))
		}
	})
	return s
}

// stop is called when the handler has returned.
func (s *stream) stop() {
	s.unlook()
	s.unhook()
	s.cancel(nil)
}

// end ends the stream, once, and returns what the client is told.
func (s *stream) end(cause error) error {
	told := statusOf(cause)
	if s.ended.CompareAndSwap(nil, &told) {
		s.i.refused(s.ctx, s.method, cause)
		s.cancel(told)
	}
	return *s.ended.Load()
}

// check returns what the client is told if the token is no longer good. Then the
// stream is over: what is not good once is not waited for.
func (s *stream) check() error {
	if ended := s.ended.Load(); ended != nil {
		return *ended
	}
	err := s.recheck()
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil && s.ended.Load() == nil { // the call itself is over
		return status.FromContextError(s.ctx.Err()).Err()
	}
	return s.end(err)
}

var errPanicked = errors.New("the verifier panicked")

// recheck turns a panic, of a caller's KeySet for one, into an error.
func (s *stream) recheck() (err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return s.i.cfg.Verifier.Recheck(s.ctx, s.claims, s.i.cfg.Methods[s.method]...)
}

// Context returns a context that ends with the token and holds its claims.
func (s *stream) Context() context.Context { return s.ctx }

// SendMsg sends m if the token is still good.
func (s *stream) SendMsg(m any) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// A received is how a RecvMsg ended.
type received struct {
	err      error
	panicked any
}

// RecvMsg returns a message if the token is still good when it has come. It does not
// wait longer than the token lives.
func (s *stream) RecvMsg(m any) error {
	if ended := s.ended.Load(); ended != nil {
		return *ended
	}
	// gRPC lets nobody but the end of the call end its RecvMsg, so it is left behind;
	// it returns when the handler has, and fills what nobody looks at.
	done := make(chan received, 1)
	go func() {
		var r received
		defer func() {
			r.panicked = recover() // a codec's: it is the handler's to recover from
			done <- r
		}()
		r.err = s.ServerStream.RecvMsg(m)
	}()
	var r received
	select {
	case r = <-done:
	case <-s.ctx.Done():
		if ended := s.ended.Load(); ended != nil {
			return *ended
		}
		r = <-done // the call is over, and so is this
	}
	switch {
	case r.panicked != nil:
		panic(r.panicked)
	case r.err != nil:
		return r.err
	}
	return s.check()
}
