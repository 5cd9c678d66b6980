package token_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// verified returns the claims of a good token of auth.
func verified(t testing.TB, auth *tokentest.Auth, change ...func(*issue.Request)) *token.Claims {
	t.Helper()
	c, err := auth.Verifier.Verify(context.Background(), auth.Token(change...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each way in which a token stops being good ends its context: when, and with which cause.
// What Recheck says a moment before and a moment after is the same.
func TestWatchCauses(t *testing.T) {
	gone := new(atomic.Pointer[error])
	session := revoke.Event{Issuer: tokentest.Issuer, Kind: revoke.KindSession, Value: "session-1"}
	for _, x := range []struct {
		name   string
		change func(*token.VerifierConfig, *fedList)
		opts   []token.VerifyOption
		beat   bool // the denylist is kept fresh
		after  time.Duration
		event  func(*tokentest.Auth, *fedList) // happens then
		within time.Duration                   // of it the context ends
		want   []error                         // nil: it does not
		not    error
	}{
		{"revoked", nil, nil, true, time.Minute, func(a *tokentest.Auth, l *fedList) { l.event(session) }, 0, []error{revoke.ErrRevoked, token.ErrInvalidToken}, token.ErrExpired},
		{"another's", nil, nil, true, time.Minute, func(a *tokentest.Auth, l *fedList) {
			l.event(revoke.Event{Issuer: tokentest.Issuer, Kind: revoke.KindSession, Value: "session-2"})
		}, 0, nil, nil},
		{"revoked while stale, and that is admitted", nil, []token.VerifyOption{token.WithStalePolicy(revoke.InsecureAllow())}, false, time.Minute, func(a *tokentest.Auth, l *fedList) { l.event(session) }, 0, []error{revoke.ErrRevoked}, revoke.ErrStale},
		{"expired", nil, nil, true, 15*time.Minute + 30*time.Second, nil, time.Second, []error{token.ErrExpired}, revoke.ErrRevoked},
		{"expired without a denylist", func(c *token.VerifierConfig, _ *fedList) { c.Revocations, c.InsecureNoRevocations = nil, true }, nil, false, 15*time.Minute + 30*time.Second, nil, time.Second, []error{token.ErrExpired}, nil},
		{"stale", nil, nil, false, 15 * time.Second, nil, 10 * time.Millisecond, []error{revoke.ErrStale, token.ErrUnavailable}, token.ErrInvalidToken},
		{"stale, which is admitted", nil, []token.VerifyOption{token.WithStalePolicy(revoke.MaxStaleness(time.Minute))}, false, 58 * time.Second, nil, 0, nil, nil},
		{"stale beyond what is admitted", nil, []token.VerifyOption{token.WithStalePolicy(revoke.MaxStaleness(time.Minute))}, false, time.Minute, nil, time.Second, []error{revoke.ErrStale}, token.ErrInvalidToken},
		{"stale, and no longer young", nil, []token.VerifyOption{token.WithStalePolicy(revoke.AllowYounger(2 * time.Minute))}, false, 2 * time.Minute, nil, time.Second, []error{revoke.ErrStale}, token.ErrInvalidToken},
		{"no longer fresh", nil, []token.VerifyOption{token.RequireFresh(3 * time.Minute)}, true, 3*time.Minute + 30*time.Second, nil, time.Second, []error{token.ErrInsufficientAuthentication}, token.ErrInvalidToken},
		{"the key is gone", func(c *token.VerifierConfig, _ *fedList) { c.Keys = goneKeys{c.Keys, gone} }, nil, true, time.Minute, func(*tokentest.Auth, *fedList) { gone.Store(&token.ErrUnknownKey) }, 2 * time.Second, []error{token.ErrUnknownKey}, token.ErrUnavailable},
		{"keys cannot be had", func(c *token.VerifierConfig, _ *fedList) { c.Keys = goneKeys{c.Keys, gone} }, nil, true, time.Minute, func(*tokentest.Auth, *fedList) { gone.Store(&token.ErrKeysUnavailable) }, 2 * time.Second, []error{token.ErrKeysUnavailable}, token.ErrInvalidToken},
		{"the key set panics", func(c *token.VerifierConfig, _ *fedList) { c.Keys = goneKeys{c.Keys, gone} }, nil, true, time.Minute, func(*tokentest.Auth, *fedList) { gone.Store(nil) }, 2 * time.Second, []error{token.ErrKeysUnavailable}, token.ErrInvalidToken},
		{"nothing happens", nil, nil, true, 10 * time.Minute, nil, 0, nil, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			none := error(nil)
			gone.Store(&none)
			list := newFedList(t)
			list.beat()
			auth := tokentest.New(t, func(c *token.VerifierConfig) {
				c.Revocations = list.List
				if x.change != nil {
					x.change(c, list)
				}
			})
			claims := verified(t, auth)
			over, beats := make(chan struct{}), sync.WaitGroup{}
			defer beats.Wait()
			defer close(over)
			if x.beat {
				beats.Go(func() {
					for {
						select {
						case <-over:
							return
						case <-time.After(time.Second):
							list.beat()
						}
					}
				})
			}
			type key struct{}
			ctx, stop := auth.Verifier.Watch(context.WithValue(t.Context(), key{}, "kept"), claims, x.opts...)
			defer stop()
			var endedAt, began time.Time
			began = time.Now()
			done := make(chan struct{})
			go func() {
				<-ctx.Done()
				endedAt = time.Now()
				close(done)
			}()
			time.Sleep(x.after - time.Millisecond)
			synctest.Wait()
			if err := auth.Verifier.Recheck(t.Context(), claims, x.opts...); err != nil || ctx.Err() != nil {
				t.Fatalf("%s: before: Recheck says %v, the context %v", x.name, err, context.Cause(ctx))
			}
			time.Sleep(time.Millisecond)
			if x.event != nil {
				x.event(auth, list)
			}
			time.Sleep(x.within + time.Millisecond)
			synctest.Wait()
			func() {
				defer func() {
					if recover() != nil && !strings.Contains(x.name, "panics") {
						t.Errorf("%s: Recheck panicked", x.name)
					}
				}()
				if err := auth.Verifier.Recheck(t.Context(), claims, x.opts...); (err == nil) != (x.want == nil) {
					t.Errorf("%s: after: Recheck says %v", x.name, err)
				}
			}()
			cause := context.Cause(ctx)
			if x.want == nil {
				if ctx.Err() != nil {
					t.Errorf("%s: ended by %v", x.name, cause)
				}
				stop()
				<-done
				if context.Cause(ctx) != context.Canceled {
					t.Errorf("%s: stopped: %v", x.name, context.Cause(ctx))
				}
				return
			}
			<-done
			for _, want := range x.want {
				if !errors.Is(cause, want) {
					t.Errorf("%s: cause %v is no %v", x.name, cause, want)
				}
			}
			if x.not != nil && errors.Is(cause, x.not) {
				t.Errorf("%s: cause %v is a %v", x.name, cause, x.not)
			}
			if late := endedAt.Sub(began) - x.after; late > x.within || late < 0 {
				t.Errorf("%s: ended %s after it", x.name, late)
			}
			c, ok := token.FromContext(ctx)
			if ctx.Err() != context.Canceled || ctx.Value(key{}) != "kept" || !ok || c != claims {
				t.Errorf("%s: the context: %v, claims %t", x.name, ctx.Err(), ok)
			}
			if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 {
				t.Errorf("%s: %d, %d and %d are left", x.name, young, live, keys)
			}
		})
	}
}

// One of several: each context is judged by the Verifier of its issuer.
func TestWatchOneOf(t *testing.T) {
	a := tokentest.New(t)
	b := tokentest.New(t, func(c *token.VerifierConfig) { c.Issuer, c.DPoP = "https://other.example.com", nil })
	all, err := token.OneOf(a.Verifier, b.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := all.Verify(t.Context(), a.Token())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := all.Watch(t.Context(), claims)
	defer stop()
	b.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	if ctx.Done(); ctx.Err() != nil {
		t.Error(context.Cause(ctx))
	}
	a.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), revoke.ErrRevoked) {
		t.Error(context.Cause(ctx))
	}
}

// Err is exact: one that begins when Apply has returned tells of the event, whether Done
// was called or not, and anyone who asks first ends the context for all.
func TestWatchErrIsExact(t *testing.T) {
	auth := tokentest.New(t)
	for i := range 2000 {
		session := fmt.Sprint("session-", i)
		claims := verified(t, auth, func(r *issue.Request) { r.Session = session })
		ctx, stop := auth.Verifier.Watch(t.Context(), claims)
		if i%2 == 0 {
			ctx.Done()
		}
		if i%4 > 1 && ctx.Err() != nil {
			t.Fatal(context.Cause(ctx))
		}
		auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: session})
		if ctx.Err() != context.Canceled || !errors.Is(context.Cause(ctx), revoke.ErrRevoked) {
			t.Fatalf("%d: %v, %v", i, ctx.Err(), context.Cause(ctx))
		}
		select {
		case <-ctx.Done():
		default:
			t.Fatal("Err before Done")
		}
		stop()
	}
}

// Nor does it wait for another goroutine that has begun to end the context.
func TestWatchErrIsExactWhileAnotherEndsIt(t *testing.T) {
	auth := tokentest.New(t)
	ctx, stop := auth.Verifier.Watch(t.Context(), verified(t, auth))
	defer stop()
	if ctx.Done(); ctx.Err() != nil {
		t.Fatal(context.Cause(ctx))
	}
	token.EndHalfway(ctx)
	if ctx.Err() != nil {
		t.Fatal("it has ended already: the test shows nothing")
	}
	auth.Revoke(revoke.Event{Kind: revoke.KindSession, Value: "session-1"})
	if ctx.Err() != context.Canceled || !errors.Is(context.Cause(ctx), revoke.ErrRevoked) {
		t.Errorf("%v, %v", ctx.Err(), context.Cause(ctx))
	}
}

// What package context makes of a watched context ends with it, knows the cause, and costs
// no goroutine.
func TestWatchBearsOtherContexts(t *testing.T) {
	const n = 1000
	auth := tokentest.New(t)
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, 7))
	defer cancel()
	ctx, stop := auth.Verifier.Watch(parent, verified(t, auth))
	defer stop()
	before := runtime.NumGoroutine()
	var called sync.WaitGroup
	var all []context.Context
	for range n {
		a, cancelA := context.WithCancel(ctx)
		b, cancelB := context.WithTimeout(context.WithValue(a, new(int), 1), time.Hour)
		c, cancelC := context.WithCancelCause(ctx)
		defer cancelA()
		defer cancelB()
		defer cancelC(nil)
		all = append(all, a, b, c)
		called.Add(1)
		context.AfterFunc(b, called.Done)
	}
	stopped := context.AfterFunc(ctx, func() { t.Error("called though stopped") })
	if !stopped() {
		t.Error("not stopped")
	}
	if n := runtime.NumGoroutine(); n > before+20 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	lasting := context.WithoutCancel(ctx)
	auth.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1"})
	called.Wait()
	for _, c := range all {
		<-c.Done()
		if !errors.Is(context.Cause(c), revoke.ErrRevoked) || c.Value(key{}) != 7 {
			t.Fatalf("%v: %v", c, context.Cause(c))
		}
	}
	if c, ok := token.FromContext(lasting); lasting.Err() != nil || !ok || c.Subject() != "user-1" {
		t.Errorf("without cancel: %v", lasting.Err())
	}
	// The parent's end is its own.
	other, stop := auth.Verifier.Watch(parent, verified(t, auth, tokentest.Subject("user-2"), func(r *issue.Request) { r.Session = "s" }))
	defer stop()
	other.Done()
	cancel()
	if <-other.Done(); other.Err() != context.Canceled || context.Cause(other) != context.Canceled {
		t.Errorf("the parent's end: %v", context.Cause(other))
	}
	late, stop := auth.Verifier.Watch(parent, verified(t, auth, tokentest.Subject("user-2"), func(r *issue.Request) { r.Session = "s" }))
	defer stop()
	if late.Err() != context.Canceled {
		t.Error("a parent that has ended")
	}
	deadline := time.Now().Add(time.Hour)
	limited, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	with, stop := auth.Verifier.Watch(limited, verified(t, auth, tokentest.Subject("user-2"), func(r *issue.Request) { r.Session = "s" }))
	defer stop()
	if d, ok := with.Deadline(); !ok || !d.Equal(deadline) {
		t.Errorf("deadline %v", d)
	}
}

// No printing of a context shows its token.
func TestWatchedContextTellsNothing(t *testing.T) {
	auth := tokentest.New(t)
	raw := auth.Token()
	for range 2 {
		var printed string
		h := auth.Verifier.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			child, cancel := context.WithCancel(r.Context())
			defer cancel()
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q", "%x"} {
				printed += fmt.Sprintf(verb+verb, r.Context(), child)
			}
		}))
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if !strings.Contains(printed, "WithToken") || forge.Leaks(printed, raw) != "" {
			t.Errorf("%s", printed)
		}
	}
}

// A wall clock that is set, or that went on while the machine slept, is noticed within a
// second; no reading of it lengthens a token's life.
func TestWatchFollowsTheWallClock(t *testing.T) {
	for name, x := range map[string]struct {
		at, jump time.Duration // after a minute, for instance, the wall clock is set ahead
		ends     time.Duration
	}{
		"stays":               {time.Minute, 0, 15*time.Minute + 30*time.Second},
		"asleep for an hour":  {time.Minute, time.Hour, time.Minute + time.Second},
		"set ahead":           {time.Minute, 10 * time.Minute, 5*time.Minute + 30*time.Second},
		"set back":            {time.Minute, -time.Hour, 15*time.Minute + 30*time.Second},
		"asleep in the grace": {2 * time.Second, time.Hour, 5 * time.Second},
		"back in the grace":   {2 * time.Second, -time.Hour, 15*time.Minute + 30*time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			auth := tokentest.New(t)
			var ahead atomic.Int64
			auth.Verifier.SetWatchClock(func() revoke.Instant {
				now := revoke.Now()
				now.Wall += ahead.Load()
				return now
			})
			claims := verified(t, auth)
			ctx, stop := auth.Verifier.Watch(t.Context(), claims, token.WithGrace(5*time.Second))
			defer stop()
			began := time.Now()
			ctx.Done()
			time.AfterFunc(x.at, func() { ahead.Store(int64(x.jump)) })
			<-ctx.Done()
			if took := time.Since(began); took < x.ends-time.Second || took > x.ends+time.Second || !errors.Is(context.Cause(ctx), token.ErrExpired) {
				t.Errorf("%s: after %s: %v", name, took, context.Cause(ctx))
			}
			time.Sleep(time.Minute)
		})
	}
}

// Without a denylist, which has all watches looked at, the wall clock is followed as well.
func TestWatchFollowsTheWallClockAlone(t *testing.T) {
	for jump, want := range map[time.Duration]time.Duration{0: 15*time.Minute + 30*time.Second, time.Hour: time.Minute + time.Second, -time.Hour: 15*time.Minute + 30*time.Second} {
		synctest.Test(t, func(t *testing.T) {
			auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = nil, true })
			var ahead atomic.Int64
			auth.Verifier.SetWatchClock(func() revoke.Instant {
				now := revoke.Now()
				now.Wall += ahead.Load()
				return now
			})
			ctx, stop := auth.Verifier.Watch(t.Context(), verified(t, auth))
			defer stop()
			began := time.Now()
			ctx.Done()
			time.AfterFunc(time.Minute, func() { ahead.Store(int64(jump)) })
			<-ctx.Done()
			if took := time.Since(began); took < want-time.Second || took > want+time.Second || !errors.Is(context.Cause(ctx), token.ErrExpired) {
				t.Errorf("set by %s: after %s: %v", jump, took, context.Cause(ctx))
			}
		})
	}
}
