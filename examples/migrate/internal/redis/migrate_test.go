package redis_test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	migrate "github.com/hybridtoken/hybridtoken/examples/migrate/internal/redis"
	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// What the denylist in Redis refuses is refused by the replica once it is copied, and what the new code
// revokes as well.
func TestMigrate(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rdb := startRedis(ctx, t)

	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{tokentest.Issuer}, List: list})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations = list })
	if err := member.WaitFresh(ctx); err != nil {
		t.Fatal(err)
	}

	claims := map[string]*token.Claims{}
	raw := map[string]string{}
	for _, name := range []string{"in redis", "in redis without expiry", "revoked by us", "the user's", "another user's"} {
		raw[name] = auth.Token(func(r *issue.Request) {
			r.Session = name
			if name == "the user's" {
				r.Subject = "user-2"
			}
		})
		if claims[name], err = auth.Verifier.Verify(ctx, raw[name]); err != nil {
			t.Fatal(name, err)
		}
	}
	old := func(name string) *jwt.RegisteredClaims {
		return &jwt.RegisteredClaims{ID: claims[name].ID(), ExpiresAt: jwt.NewNumericDate(claims[name].ExpiresAt())}
	}
	if err := migrate.Revoke(ctx, rdb, old("in redis")); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(ctx, "revoked:"+claims["in redis without expiry"].ID(), "", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"in redis": true, "in redis without expiry": true, "revoked by us": false} {
		if got, err := migrate.Revoked(ctx, rdb, old(name)); err != nil || got != want {
			t.Errorf("Redis, of %s: %t, %v", name, got, err)
		}
	}
	for range 2 { // again, which changes nothing
		if n, err := migrate.Copy(ctx, rdb, member); n != 2 || err != nil {
			t.Fatalf("copied %d: %v", n, err)
		}
	}
	if err := migrate.Revoke(ctx, rdb, &jwt.RegisteredClaims{ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}); err != nil { // of a token without a jti
		t.Fatal(err)
	}
	if n, err := migrate.Copy(ctx, rdb, member); n != 2 || err == nil || !strings.Contains(err.Error(), "here: 1") {
		t.Errorf("beside one that names nothing, copied %d: %v", n, err)
	}
	if err := migrate.RevokeToken(ctx, member, claims["revoked by us"]); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.RevokeUser(ctx, member, "user-2"); err != nil {
		t.Fatal(err)
	}
	if err := member.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"in redis": false, "in redis without expiry": false, "revoked by us": false, "the user's": false, "another user's": true} {
		if _, err := auth.Verifier.Verify(ctx, raw[name]); (err == nil) != want {
			t.Errorf("%s: %v, accepted: %t, want %t", name, err, err == nil, want)
		}
	}

	rdb.Close()
	if _, err := migrate.Revoked(ctx, rdb, old("in redis")); err == nil {
		t.Error("Redis is away, and Revoked knows")
	}
	if _, err := migrate.Copy(ctx, rdb, member); err == nil {
		t.Error("Redis is away, and Copy has copied")
	}
}

// startRedis starts the real server, without a disk.
func startRedis(ctx context.Context, t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		gate.Skip(t, "redis-server is not installed, whose denylist is moved")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.CommandContext(ctx, path, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	rdb := redis.NewClient(&redis.Options{Addr: fmt.Sprint("127.0.0.1:", port)})
	t.Cleanup(func() { rdb.Close() })
	for ctx.Err() == nil {
		if err = rdb.Ping(ctx).Err(); err == nil {
			return rdb
		}
		time.Sleep(50 * time.Millisecond) // between two attempts; it counts for nothing
	}
	t.Fatal(err)
	return nil
}
