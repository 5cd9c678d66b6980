package tokentest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

func TestTokens(t *testing.T) {
	auth := tokentest.New(t)
	other := tokentest.New(t)
	for name, x := range map[string]struct {
		raw, want string
	}{
		"good":                {auth.Token(), ""},
		"scoped":              {auth.Token(tokentest.Scope("a"), tokentest.Subject("user-2")), ""},
		"expired":             {auth.Expired(), "expired"},
		"foreign":             {auth.Foreign(), "signature"},
		"revoked":             {auth.Revoked(), "revoked"},
		"another":             {other.Token(), "unknown_key"},
		"another audience":    {auth.Token(func(r *issue.Request) { r.Audience = []string{"x"} }), "audience"},
		"claims of one's own": {auth.Sign(map[string]any{"iss": tokentest.Issuer}), "claims"},
	} {
		if claims, err := auth.Verifier.Verify(t.Context(), x.raw); token.Cause(err) != x.want || (claims == nil) != (x.want != "") {
			t.Errorf("%s: error %v, want one of %q", name, err, x.want)
		}
	}
}

func TestRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := tokentest.New(t)
		raw := auth.Token()
		auth.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Before: time.Now()})
		if _, err := auth.Verifier.Verify(t.Context(), raw); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("error %v", err)
		}
		if _, err := auth.Verifier.Verify(t.Context(), auth.Token(tokentest.Subject("user-2"))); err != nil {
			t.Errorf("another user: %v", err)
		}
	})
}

func TestClient(t *testing.T) {
	auth, client, thief := tokentest.New(t), tokentest.NewClient(t), tokentest.NewClient(t)
	raw := auth.Token(client.Bind)
	h := auth.Verifier.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, x := range []struct {
		c    *tokentest.Client
		want int
	}{{client, 200}, {thief, 401}, {client, 200}} {
		r := httptest.NewRequest("PUT", "/a%20b?c", nil)
		x.c.Authorize(r, raw)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != x.want {
			t.Errorf("%d, want %d: %v", w.Code, x.want, w.Header())
		}
	}
}

func TestContext(t *testing.T) {
	ctx := tokentest.Context(t, t.Context(), tokentest.Scope("a", "b"))
	if c, ok := token.FromContext(ctx); !ok || c.Subject() != "user-1" || !c.HasScope("b") {
		t.Errorf("claims %v", c)
	}
}

func TestVerifierConfig(t *testing.T) {
	stale, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations = stale })
	if _, err := auth.Verifier.Verify(t.Context(), auth.Token()); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("error %v", err)
	}
}

// A failure is the test's.
func TestFails(t *testing.T) {
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tokentest.New(f, func(c *token.VerifierConfig) { c.Audiences = nil })
	}()
	<-done
	if !strings.Contains(f.message, "tokentest: token: VerifierConfig.Audiences") {
		t.Errorf("failed with %q", f.message)
	}
}

type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)

	runtime.Goexit()
}
