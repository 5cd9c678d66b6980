package token_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

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
