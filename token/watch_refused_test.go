package token_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

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
