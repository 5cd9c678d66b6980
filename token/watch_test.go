package token_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// goneKeys are keys until something happens; nil stands for a panic.
type goneKeys struct {
	token.KeySet
	gone *atomic.Pointer[error]
}

func (k goneKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	switch err := k.gone.Load(); {
	case err == nil:
		panic("keys")
	case *err != nil:
		return nil, *err
	}
	return k.KeySet.Lookup(ctx, kid, alg)
}

// Claims that this Verifier never returned are good for nothing, from the start, and so
// are options that cannot take effect.
func TestWatchRefuses(t *testing.T) {
	auth, other := tokentest.New(t), tokentest.New(t)
	good := verified(t, auth)
	issued, err := auth.Issuer.Issue(t.Context(), issue.Request{Subject: "user-1", Client: "client-1", Audience: []string{tokentest.Audience}})
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		claims *token.Claims
		opts   []token.VerifyOption
		want   error
	}{
		"good":                  {good, nil, nil},
		"nil":                   {nil, nil, token.ErrInvalidToken},
		"zero":                  {new(token.Claims), nil, token.ErrInvalidToken},
		"issued, not verified":  {issued.Claims(), nil, token.ErrInvalidToken},
		"without the scope":     {good, []token.VerifyOption{token.RequireScope("x")}, token.ErrInsufficientScope},
		"a policy of no effect": {good, []token.VerifyOption{token.WithStalePolicy(revoke.AllowYounger(-1))}, token.ErrUnavailable},
		"a negative grace":      {good, []token.VerifyOption{token.WithGrace(-1)}, token.ErrUnavailable},
		"an endless grace":      {good, []token.VerifyOption{token.WithGrace(time.Hour)}, token.ErrUnavailable},
		"no option":             {good, []token.VerifyOption{nil}, nil},
	} {
		for _, ask := range []func(context.Context){func(context.Context) {}, func(ctx context.Context) {
			if done := ctx.Done(); x.want != nil {
				select { // without a look at Err, which judges by itself
				case <-done:
				case <-time.After(time.Minute):
					t.Errorf("%s: no end", name)
				}
			}
		}} {
			ctx, stop := auth.Verifier.Watch(t.Context(), x.claims, x.opts...)
			ask(ctx)
			if cause := context.Cause(ctx); !errors.Is(cause, x.want) || (cause == nil) != (x.want == nil) {
				t.Errorf("%s: %v, want %v", name, cause, x.want)
			}
			stop()
			stop()
			if ctx.Err() == nil {
				t.Errorf("%s: stopped and alive", name)
			}
		}
	}
	ctx, stop := other.Verifier.Watch(t.Context(), good) // whose key it does not know
	defer stop()
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Error("another verifier's claims: no end")
	}
	if !errors.Is(context.Cause(ctx), token.ErrInvalidToken) {
		t.Error(context.Cause(ctx))
	}
}

// Claims of a Verifier that shares the keys, and has another audience or another issuer, are
// refused as Recheck refuses them.
func TestWatchRefusesWhatIsForOthers(t *testing.T) {
	auth := tokentest.New(t)
	claims := verified(t, auth)
	for want, change := range map[error]func(*token.VerifierConfig){
		token.ErrAudience: func(c *token.VerifierConfig) { c.Audiences = []string{"another"} },
		token.ErrIssuer:   func(c *token.VerifierConfig) { c.Issuer = "https://another.example.com" },
	} {
		other := tokentest.New(t, change, func(c *token.VerifierConfig) { c.Keys = auth.Keys }).Verifier
		if err := other.Recheck(t.Context(), claims); !errors.Is(err, want) {
			t.Errorf("Recheck: %v, want %v", err, want)
		}
		for _, done := range []bool{false, true} {
			ctx, stop := other.Watch(t.Context(), claims)
			if done {
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
					t.Error("no end")
				}
			}
			if ctx.Err() == nil || !errors.Is(context.Cause(ctx), want) {
				t.Errorf("Watch, Done called %t: %v, want %v", done, context.Cause(ctx), want)
			}
			stop()
		}
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

// The Middleware interrupts no request before it has run for its grace, whatever happens,
// and ends it then, or at once after it.
func TestMiddlewareEndsContext(t *testing.T) {
	session := revoke.Event{Issuer: tokentest.Issuer, Kind: revoke.KindSession, Value: "session-1"}
	for _, x := range []struct {
		name    string
		opts    []token.VerifyOption
		begin   time.Duration // after the token was issued
		revoke  time.Duration // after the request began; 0: never
		look    time.Duration // Done is called; 0: Err alone, at the end
		ends    time.Duration
		runs    time.Duration
		want    error
		between time.Duration
	}{
		{name: "short", revoke: time.Second, look: 1, runs: 4 * time.Second},
		{name: "the grace", revoke: time.Second, look: 1, ends: 5 * time.Second, runs: time.Minute, want: revoke.ErrRevoked},
		{name: "at once after it", revoke: 8 * time.Second, look: 1, ends: 8 * time.Second, runs: time.Minute, want: revoke.ErrRevoked},
		{name: "asked late", revoke: 8 * time.Second, look: 7 * time.Second, ends: 8 * time.Second, runs: time.Minute, want: revoke.ErrRevoked},
		{name: "asked after it", revoke: 8 * time.Second, look: 20 * time.Second, ends: 20 * time.Second, runs: time.Minute, want: revoke.ErrRevoked},
		{name: "never asked", revoke: 8 * time.Second, runs: 9 * time.Second, want: revoke.ErrRevoked},
		{name: "never asked, within the grace", revoke: 2 * time.Second, runs: 4 * time.Second},
		{name: "never asked, nothing happened", runs: 9 * time.Second},
		{name: "none", opts: []token.VerifyOption{token.WithGrace(0)}, revoke: time.Second, look: 1, ends: time.Second, runs: time.Minute, want: revoke.ErrRevoked},
		{name: "another", opts: []token.VerifyOption{token.WithGrace(time.Minute)}, revoke: time.Second, look: 1, ends: time.Minute, runs: 2 * time.Minute, want: revoke.ErrRevoked},
		{name: "expiry", begin: 10 * time.Minute, look: 1, ends: 5*time.Minute + 30*time.Second, runs: time.Hour, want: token.ErrExpired},
		{name: "expiry, the grace", begin: 15*time.Minute + 29*time.Second, look: 1, ends: 5 * time.Second, runs: time.Minute, want: token.ErrExpired},
		{name: "expiry, never asked", begin: 10 * time.Minute, runs: 6 * time.Minute, want: token.ErrExpired},
		{name: "freshness is for the beginning", opts: []token.VerifyOption{token.RequireFresh(time.Minute)}, look: 1, runs: 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			auth := tokentest.New(t)
			raw := auth.Token()
			time.Sleep(x.begin)
			var cause error
			var ended time.Duration
			var kept context.Context
			h := auth.Verifier.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				began, ctx := time.Now(), r.Context()
				kept = ctx
				if x.revoke > 0 {
					time.AfterFunc(x.revoke, func() { auth.Revoke(session) })
				}
				if x.look == 0 {
					time.Sleep(x.runs)
					if young, live, _ := auth.Verifier.Watching(); young+live != 0 {
						t.Errorf("%s: watched without having asked", x.name)
					}
					cause = context.Cause(ctx)
					if (cause == nil) != (ctx.Err() == nil) {
						t.Errorf("%s: Err %v, cause %v", x.name, ctx.Err(), cause)
					}
					return
				}
				time.Sleep(x.look - 1)
				select {
				case <-ctx.Done():
				case <-time.After(x.runs - x.look + 1):
				}
				cause, ended = context.Cause(ctx), time.Since(began)
			}), x.opts...)
			r := httptest.NewRequest("GET", "/", nil).WithContext(t.Context())
			r.Header.Set("Authorization", "Bearer "+raw)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 200 {
				t.Fatalf("%s: %d", x.name, w.Code)
			}
			if !errors.Is(cause, x.want) || (cause == nil) != (x.want == nil) {
				t.Errorf("%s: cause %v, want %v", x.name, cause, x.want)
			}
			if x.want != nil && x.look > 0 && ended.Round(time.Millisecond).Truncate(time.Second) != x.ends {
				t.Errorf("%s: ended after %s, want %s", x.name, ended, x.ends)
			}
			if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 || auth.List.Stats(revoke.Now()).Watches != 0 {
				t.Errorf("%s: %d, %d and %d are left", x.name, young, live, keys)
			}
			if kept.Err() == nil {
				t.Errorf("%s: the context outlives its handler", x.name)
			}
			if c, ok := token.FromContext(kept); !ok || c.Subject() != "user-1" {
				t.Errorf("%s: the claims have gone with it", x.name)
			}
			time.Sleep(time.Minute)
		})
	}
}

// Of two Middlewares around each other the inner one's policy holds for its route, too.
func TestMiddlewareEndsInnerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := newFedList(t)
		list.beat()
		auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations = list.List })
		causes := map[string]error{}
		note := func(name string, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if next != nil {
					next.ServeHTTP(w, r)
				} else {
					select {
					case <-r.Context().Done():
					case <-time.After(time.Minute):
					}
				}
				causes[name] = context.Cause(r.Context())
			})
		}
		inner := auth.Verifier.Middleware(note("inner", nil), token.WithStalePolicy(revoke.MaxStaleness(30*time.Second)))
		outer := auth.Verifier.Middleware(note("outer", inner), token.WithStalePolicy(revoke.InsecureAllow()))
		r := httptest.NewRequest("GET", "/", nil).WithContext(t.Context())
		r.Header.Set("Authorization", "Bearer "+auth.Token())
		began := time.Now()
		outer.ServeHTTP(httptest.NewRecorder(), r)
		if took := time.Since(began).Truncate(time.Second); took != 30*time.Second || !errors.Is(causes["inner"], revoke.ErrStale) || causes["outer"] != nil {
			t.Errorf("after %s: %v", took, causes)
		}
		time.Sleep(time.Minute)
	})
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

// A hundred thousand contexts: no goroutine for any, so much memory, and nothing of them
// afterwards, whether they ended or were stopped.
func TestManyWatches(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	auth := tokentest.New(t)
	claims := verified(t, auth)
	all := make([]*token.Claims, n)
	for i := range all {
		all[i] = claims.Numbered(i)
	}
	type watched struct {
		ctx  context.Context
		stop context.CancelFunc
	}
	contexts := make([]watched, n)
	memory := func() int {
		// Until what earlier tests have left is gone.
		for last := 0; ; {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if now := int(m.HeapAlloc); max(now-last, last-now) < 1<<16 {
				return now
			} else {
				last = now
			}
		}
	}
	goroutines, start := runtime.NumGoroutine(), memory()
	for i := range contexts {
		contexts[i].ctx, contexts[i].stop = auth.Verifier.Watch(context.Background(), all[i])
	}
	unasked := memory()
	if young, live, _ := auth.Verifier.Watching(); young+live != 0 {
		t.Fatalf("%d watched though nobody asked", young+live)
	}
	for _, w := range contexts {
		w.ctx.Done()
	}
	asked := memory()
	t.Logf("%d bytes a context, %d once Done was called", (unasked-start)/n, (asked-start)/n)
	if (unasked-start)/n > 256 || (asked-start)/n > 2048 {
		t.Error("that is much")
	}
	if _, live, keys := auth.Verifier.Watching(); live != n || keys != 1 {
		t.Fatalf("%d live, %d keys", live, keys)
	}
	if now := runtime.NumGoroutine(); now > goroutines+10 {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	end := func(e revoke.Event, ended func(i int) bool) {
		t.Helper()
		auth.Revoke(e)
		for i, w := range contexts {
			if ended(i) {
				<-w.ctx.Done()
				if !errors.Is(context.Cause(w.ctx), revoke.ErrRevoked) {
					t.Fatalf("%d: %v", i, context.Cause(w.ctx))
				}
			}
		}
	}
	end(revoke.Event{Kind: revoke.KindSession, Value: "session-7"}, func(i int) bool { return i == 7 })
	end(revoke.Event{Kind: revoke.KindSubject, Value: "user-5"}, func(i int) bool { return i/4 == 5 })
	if _, live, _ := auth.Verifier.Watching(); live != n-5 {
		t.Errorf("%d live after two events for five", live)
	}
	for i, w := range contexts {
		if i%2 == 0 {
			w.stop()
		}
	}
	end(revoke.Event{Kind: revoke.KindIssuer}, func(i int) bool { return i%2 == 1 })
	if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 || auth.List.Stats(revoke.Now()).Watches != 0 {
		t.Errorf("%d, %d, %d are left, and %d on the denylist", young, live, keys, auth.List.Stats(revoke.Now()).Watches)
	}
	contexts = nil
	if left := memory(); left > start+n*48 { // what slices and maps keep of their size
		t.Errorf("%d bytes a context are left", (left-start)/n)
	}
	runtime.KeepAlive(all)
}

// Contexts begin, are asked, end and are stopped from all sides at once: each ends, with
// one cause, and nothing is left.
func TestWatchesFromAllSides(t *testing.T) {
	auth := tokentest.New(t)
	claims := verified(t, auth)
	var wg sync.WaitGroup
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for r := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 8))
			for i := range rounds {
				session := 1000*r + i
				ctx, stop := auth.Verifier.Watch(context.Background(), claims.Numbered(session), token.WithGrace(time.Duration(rng.IntN(3))*time.Millisecond))
				var sides sync.WaitGroup
				for _, f := range []func(){
					func() { <-ctx.Done() },
					func() { ctx.Done(); ctx.Err() },
					func() {
						child, cancel := context.WithCancel(ctx)
						defer cancel()
						<-child.Done()
					},
					func() {
						if err := auth.List.Apply(revoke.Now(), revoke.Event{Issuer: tokentest.Issuer, Kind: revoke.KindSession, Value: fmt.Sprint("session-", session)}); err != nil {
							t.Error(err)
						}
					},
					func() {
						if i%2 == 0 {
							stop()
						}
					},
				} {
					sides.Go(f)
				}
				sides.Wait()
				if cause := context.Cause(ctx); !errors.Is(cause, revoke.ErrRevoked) && (i%2 == 1 || cause != context.Canceled) {
					t.Errorf("cause %v", cause)
				}
				stop()
			}
		})
	}
	wg.Wait()
	if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 || auth.List.Stats(revoke.Now()).Watches != 0 {
		t.Errorf("%d, %d, %d are left, and %d on the denylist", young, live, keys, auth.List.Stats(revoke.Now()).Watches)
	}
}
