package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hybridtoken/hybridtoken/internal/fenced"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func play(t *testing.T, patience time.Duration, tune func(*grpctoken.Config)) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	err = run(t.Context(), &b, silent, tune, func(ctx context.Context, a *auth, address string) error {
		return story(ctx, &b, a, address, patience)
	})
	return b.String(), err
}

// The story goes well, and prints what README.md says.
//
//blocks:run examples/grpc/README.md sh text
func TestStory(t *testing.T) {
	out, err := play(t, time.Minute, nil)
	if err != nil || !strings.HasSuffix(out, "\neverything went as it should\n") || strings.Contains(out, "eyJ") {
		t.Errorf("error %v\n%s", err, out)
	}
	shown, err := fenced.Page("../..", "examples/grpc/README.md", "text")
	if err != nil || len(shown) != 1 || !fenced.Matches(out, shown[0].Body) {
		t.Errorf("README.md shows %v (error: %v), printed was\n%s", shown, err, out)
	}
}

// deaf checks tokens when a call begins, and then no more.
type deaf struct{ grpctoken.Verifier }

func (d deaf) Recheck(context.Context, *token.Claims, ...token.VerifyOption) error { return nil }

func (d deaf) Watch(ctx context.Context, _ *token.Claims, _ ...token.VerifyOption) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

// The twins: a server that is too lax is noticed.
func TestStoryNotices(t *testing.T) {
	for says, tune := range map[string]func(*grpctoken.Config){
		"List without a token: Internal, want Unauthenticated":                                    func(c *grpctoken.Config) { c.Public = append(c.Public, "/shop.Orders/List") },
		"Place by Bob, whose token lacks the scope: OK, want PermissionDenied":                    func(c *grpctoken.Config) { delete(c.Methods, "/shop.Orders/Place") },
		"the stream of the phone goes on for 1s":                                                  func(c *grpctoken.Config) { c.Verifier = deaf{c.Verifier} },
		"grpctoken: Config.Methods holds \"/shop.Orders/Remove\", which the server does not have": func(c *grpctoken.Config) { c.Methods["/shop.Orders/Remove"] = nil },
	} {
		out, err := play(t, time.Second, tune)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(out, "as it should") {
			t.Errorf("error %v, want %q\n%s", err, says, out)
		}
	}
}

// An open stream does not hold up the end of the server, and its client is told to try again.
func TestEndWithOpenStream(t *testing.T) {
	var next func() (string, error)
	err := run(t.Context(), io.Discard, silent, nil, func(_ context.Context, a *auth, address string) error {
		grant, err := a.login(t.Context(), "alice", "orders:read", "orders:write")
		if err != nil {
			return err
		}
		c, err := dial(address, grant.AccessToken())
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.conn.Close() })
		if err := c.place(t.Context(), "a lantern"); err != nil {
			return err
		}
		next, err = c.follow(t.Context())
		if err == nil {
			_, err = next() // the stream is open
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v", err)
	}
}
