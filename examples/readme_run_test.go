package examples_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// frame is the program that runs the README: each block is the body of a function, in its
// order, in one process; what the prose presupposes, the frame has. The addresses of the
// README are a server of the test and the program's own key set.
const frame = `package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// What a block makes and a later one, or the check, uses.
var kept struct {
	list   *revoke.List
	api    *bus.Member
	auth   *bus.Member
	issuer *issue.Issuer
	grant  *refresh.Grant
}

func install(ctx context.Context) error {
//BLOCK 0
	return nil
}

func protect(ctx context.Context, mux *http.ServeMux, handler http.Handler) error {
//BLOCK 1
	kept.list, kept.api = list, member
	return nil
}

func issueAndRevoke(ctx context.Context, mux *http.ServeMux, w io.Writer, sid string, login issue.Request) error {
	list, err := revoke.NewList(revoke.Config{}) // the auth service has its own
	if err != nil {
		return err
	}
	{
//BLOCK 2
		kept.list, kept.auth, kept.issuer = list, member, issuer
	}
	return nil
}

func sessions(ctx context.Context, nc *nats.Conn, issuer *issue.Issuer, member *bus.Member, list *revoke.List, before time.Time, recheck func(context.Context) error) error {
//BLOCK 3
	kept.grant = grant
	return err
}

// names has requests to the issuer of the README answered by mux.
type names struct{ mux *http.ServeMux }

func (n names) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "auth.example.com" {
		return nil, fmt.Errorf("no host %s", r.URL.Host)
	}
	w := httptest.NewRecorder()
	n.mux.ServeHTTP(w, r)
	return w.Result(), nil
}

var world = names{http.NewServeMux()}

func main() {
	if err := run(); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := install(ctx); err != nil {
		return err
	}
	mux := world.mux
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprint(w, "hello ", claims.Subject())
	})
	if err := protect(ctx, mux, handler); err != nil {
		return err
	}
	api := kept.api
	var next strings.Builder
	login := issue.Request{Subject: "user-1", Client: "web", Session: "session-1", Audience: []string{"orders"}}
	if err := issueAndRevoke(ctx, mux, &next, "session-1", login); err != nil {
		return err
	}
	// One that was issued just then, and not told of the cutoff.
	other := issue.Request{Subject: "user-1", Client: "web", Session: "session-2", Audience: []string{"orders"}}
	issued, err := kept.issuer.Issue(ctx, other)
	if err != nil {
		return err
	}
	for _, m := range []*bus.Member{api, kept.auth} {
		if err := m.WaitFresh(ctx); err != nil {
			return err
		}
	}
	ask := func(path, raw string) string {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
	}
	fmt.Println("ready:", ask("/ready", "")[:3])
	fmt.Println("the token that passes the cutoff:", ask("/orders", next.String()))
	fmt.Println("another session's:", ask("/orders", issued.Raw())[:3])

	nc, err := nats.Connect(os.Getenv("README_NATS"), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.ReconnectBufSize(-1), nats.PingInterval(2*time.Second))
	if err != nil {
		return err
	}
	if err := natskv.CreateBucket(ctx, nc, natskv.BucketConfig{Replicas: 1}); err != nil {
		return err
	}
	if err := sessions(ctx, nc, kept.issuer, kept.auth, kept.list, time.Now(), func(ctx context.Context) error { return nil }); err != nil {
		return err
	}
	if err := api.Barrier(ctx); err != nil {
		return err
	}
	fmt.Println("the kept session's:", ask("/orders", kept.grant.AccessToken()))
	return nil
}
`

const readmeSays = `ready: 200
the token that passes the cutoff: 200 hello user-1
another session's: 401
the kept session's: 200 hello user-1
`

// TestReadmeRuns runs the blocks of the README in their order, as one program, and looks at
// what its API then answers.
//
//blocks:run README.md go
func TestReadmeRuns(t *testing.T) {
	blocks := pageBlocks(t, "README.md", "go")
	if len(blocks) != 4 {
		t.Fatalf("%d Go blocks in the README: the frame runs 4", len(blocks))
	}
	src := frame
	for i, b := range blocks {
		body := strings.ReplaceAll(b.Body, `"nats://127.0.0.1:4222"`, `os.Getenv("README_NATS")`)
		body = strings.ReplaceAll(body, "token.RemoteKeySetConfig{", "token.RemoteKeySetConfig{Transport: world, ")
		src = strings.Replace(src, "//BLOCK "+string(rune('0'+i))+"\n", body, 1)
	}
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	program := buildProgram(t, src)
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "README_NATS="+srv.ClientURL())
	var logged strings.Builder
	cmd.Stderr = &logged
	out, err := cmd.Output()
	if err != nil || string(out) != readmeSays {
		t.Errorf("%v\nprinted:\n%swant:\n%slogged:\n%s", err, out, readmeSays, &logged)
	}
}
