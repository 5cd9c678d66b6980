package token

import (
	"context"
	"fmt"
	"io"
	"math"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Watch is for connections that outlive a request, hijacked ones among them. It returns a
// context that ends when [Verifier.Recheck] of c, with the same options, would no longer
// pass, and [context.Cause] is then the error that Recheck gives:
//
//   - [revoke.ErrRevoked], within the moment, when an event that revokes the token is applied
//   - [ErrExpired] when exp has passed, widened by Leeway, by the wall clock or by the
//     monotonic one, whichever says so first; a wall clock that jumps, or a machine that
//     slept, is noticed within a second
//   - [revoke.ErrStale], within a second, when the denylist is so far behind that the policy
//     no longer lets the token pass
//   - [ErrUnknownKey] or [ErrKeysUnavailable], within a second or two, when the key is gone
//   - [ErrInsufficient] when [RequireFresh] says so
//
// Its Err is [context.Canceled] then, and exact, whatever was called before: one that
// begins after an event was applied tells of it. It keeps the deadline of ctx and ends
// with it. c is what Verify of v returned; with other claims ([ErrInvalidToken]) the context
// has ended at once.
//
// Nothing waits for the token's end before Done is first called, or Err once the time of
// [WithGrace] is over: until then the context costs its memory and nothing else. Afterwards
// it takes some 1.2 KiB, no goroutine and no timer of its own. An
// event costs the same however many contexts there are. Call stop when the connection
// ends, or what waits is kept until the token's end; it may be called more than once, and
// ends the context with context.Canceled.
//
// Of a connection that a handler took over (http.Hijacker) and that lives on after it,
// ctx is context.WithoutCancel(r.Context()).
func (v *Verifier) Watch(ctx context.Context, c *Claims, opts ...VerifyOption) (watched context.Context, stop context.CancelFunc) {
	w, now := new(tokenContext), accepted{claims: c, at: revoke.Now()}
	if c != nil && c.header != (header{}) {
		now.by = v.of(c.issuer)
	}
	d := &nothing
	if len(opts) > 0 {
		d = together(opts, new(demands))
	}
	w.init(ctx, now, d, d.grace)
	w.demanding = true
	return w, w.stop
}

// defaultGrace is that of Middleware.
const defaultGrace = 5 * time.Second

// maxGrace bounds [WithGrace].
const maxGrace = 5 * time.Minute

// WithGrace has the context of a request that [Verifier.Middleware] let in, or of
// [Verifier.Watch], end no sooner than d after it was made: what runs shorter is never
// interrupted because of its token, as the request that logs its own session out must not
// be. Without it Middleware gives 5 s and Watch none. d is at most 5 min. Longer work that
// must be finished runs on [context.WithoutCancel]. Nothing else heeds the option.
func WithGrace(d time.Duration) VerifyOption {
	if d < 0 || d > maxGrace {
		return (&demands{err: fmt.Errorf("WithGrace of %s, which is not between 0 and %s", d, maxGrace)}).option()
	}
	return (&demands{grace: d, graceSet: true}).option()
}

// A tokenContext ends when its token does. Until somebody calls Done it only knows what to
// watch; then it has a watch, whose context, made by package context, does all the work:
// contexts that derive from this one find it behind Done and Value.
type tokenContext struct {
	parent    context.Context
	a         *acceptor // of the token's issuer; nil if claims are not of its making
	claims    *Claims
	demands   *demands
	grace     time.Duration
	since     revoke.Instant // when the token was accepted
	demanding bool           // demands are judged, too; of a request they were
	over      atomic.Bool
	watch     atomic.Pointer[watch]
}

func (c *tokenContext) init(parent context.Context, ok accepted, d *demands, grace time.Duration) {
	c.parent, c.claims, c.a, c.since = parent, ok.claims, ok.by, ok.at
	c.demands, c.grace = d, grace
}

// Deadline is that of the parent.
func (c *tokenContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done begins the watch, if it has not begun.
func (c *tokenContext) Done() <-chan struct{} { return c.begin().ctx.Done() }

// Err is right whether the watch has begun or not.
func (c *tokenContext) Err() error {
	w := c.watch.Load()
	if w == nil {
		if !c.over.Load() {
			if err := c.parent.Err(); err != nil {
				return err
			}
			if c.grace > 0 && revoke.Now().Mono-c.since.Mono < int64(c.grace) {
				return nil
			}
		}
		w = c.begin()
	}
	return w.err()
}

func (c *tokenContext) Value(key any) any {
	if _, ok := key.(contextKey); ok && c.claims != nil {
		return c.claims
	}
	if w := c.watch.Load(); w != nil { // package context looks for what it has to do with
		return w.ctx.Value(key)
	}
	return c.parent.Value(key)
}

// String names the context as package context does. It tells nothing of the token.
func (c *tokenContext) String() string {
	name := reflect.TypeOf(c.parent).String()
	if s, ok := c.parent.(fmt.Stringer); ok {
		name = s.String()
	}
	return name + ".WithToken"
}

// Format implements [fmt.Formatter]: every verb prints String.
func (c *tokenContext) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// begin returns the watch, which it makes if it is the first.
func (c *tokenContext) begin() *watch {
	if w := c.watch.Load(); w != nil {
		return w
	}
	w := &watch{claims: c.claims, heapAt: -1, liveAt: -1}
	w.ctx, w.cancel = context.WithCancelCause(c.parent)
	if err := w.init(c); err != nil {
		w.cancel(err)
	}
	if !c.watch.CompareAndSwap(nil, w) { // another was first
		w.cancel(nil)
		return c.watch.Load()
	}
	if w.a != nil {
		w.a.watches.start(w)
	}
	if c.over.Load() { // perhaps it was stopped meanwhile, by one who found no watch
		w.end(nil)
	}
	return w
}

// stop ends the context.
func (c *tokenContext) stop() {
	c.over.Store(true)
	if w := c.watch.Load(); w != nil {
		w.end(nil)
	}
}

// A watch waits for the end of one context's token.
type watch struct {
	a      *acceptor
	claims *Claims
	ctx    context.Context
	cancel context.CancelCauseFunc
	policy revoke.Policy
	demand *demands // nil: none

	graceUntil int64 // by the monotonic clock, as in revoke.Instant
	ends       int64 // the token, by the monotonic clock
	wallEnds   int64 // the same by the wall clock, unix milliseconds
	identity   atomic.Pointer[replica.Prepared]

	// What follows is guarded by watches.mu.
	over   bool
	unlist func() // takes it off the denylist's watches; nil: it is not there
	due    int64  // when it is looked at next, by the monotonic clock
	heapAt int    // in watches.heap; -1: it is not there
	liveAt int    // in watches.live
}

// init leaves a nil on an error.
func (w *watch) init(c *tokenContext) error {
	if c.a == nil {
		return fmt.Errorf("token: %w: claims that were not verified", ErrInvalidToken)
	}
	if err := c.a.concerns(c.claims); err != nil {
		return err
	}
	d := c.demands
	if err := c.a.takes(c.parent, d); err != nil {
		return err
	}
	w.a, w.policy = c.a, c.a.policy(d)
	w.graceUntil = c.since.Mono + int64(c.grace)
	w.wallEnds = w.claims.expires.ms + w.a.leeway
	if c.demanding {
		w.demand = d
		if d.maxAge != 0 && w.claims.authTime.set {
			w.wallEnds = min(w.wallEnds, w.claims.authTime.ms+d.maxAge.Milliseconds()+w.a.leeway+1)
		}
	}
	w.ends = math.MaxInt64
	w.ends = w.nextDue(c.since)
	return nil
}

// nextDue is when the token ends, by the clock that says so first.
func (w *watch) nextDue(now revoke.Instant) int64 {
	const furthest = math.MaxInt64 / 4 / int64(time.Millisecond) // 73 years: no overflow
	left := min(w.wallEnds-now.Wall/int64(time.Millisecond), furthest)
	return min(w.ends, now.Mono+max(left, 0)*int64(time.Millisecond))
}

// err is that of the context, which it ends first if the token is over.
func (w *watch) err() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	now := w.a.watches.now()
	if now.Mono < w.graceUntil {
		return nil
	}
	if cause := w.judge(now); cause != nil {
		w.end(cause)
		w.cancel(cause) // who ends it at the same time may not have come that far
	}
	return w.ctx.Err()
}

// judge returns why the token is no longer good, as Recheck would, but for its key.
func (w *watch) judge(now revoke.Instant) error {
	ms := now.Wall / int64(time.Millisecond)
	if ms-w.a.leeway >= w.claims.expires.ms {
		return fmt.Errorf("token: %w: exp", ErrExpired)
	}
	if err := w.a.revoked(w.claims, w.identity.Load(), now, w.policy); err != nil {
		return err
	}
	if w.demand != nil {
		if err := w.a.sufficient(w.claims, w.demand, ms); err != nil {
			return err
		}
	}
	switch {
	case now.Mono < w.ends:
		return nil
	case w.wallEnds < w.claims.expires.ms+w.a.leeway:
		return fmt.Errorf("token: %w: auth_time is too long ago, by the monotonic clock", errInsufficientAuthentication)
	}
	return fmt.Errorf("token: %w: exp, by the monotonic clock", ErrExpired)
}

// revoked is what the denylist calls.
func (w *watch) revoked(err error) { w.end(fmt.Errorf("token: %w: %w", ErrInvalidToken, err)) }

// end ends the context; nil stands for no cause of its own.
func (w *watch) end(cause error) {
	if w.a == nil {
		return // it has ended
	}
	if unlist, first := w.a.watches.remove(w); first {
		w.cancel(cause)
		if unlist != nil {
			unlist()
		}
	}
}
