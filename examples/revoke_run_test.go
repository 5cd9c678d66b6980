package examples_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestRevokePageRuns runs the shell block of docs/revoke.md with the real nats command: it prints what the page
// says, the message leaves the stream some day, and a replica refuses the user's tokens from before.
//
//blocks:run docs/revoke.md sh text
func TestRevokePageRuns(t *testing.T) {
	for _, program := range []string{"nats", "bash", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "there is no program "+program+" to run the commands of docs/revoke.md")
		}
	}
	text, err := os.ReadFile("../docs/revoke.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?ms)^```sh\n(.*?)^```\n\n```text\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(m) != 1 {
		t.Fatalf("%d shell blocks with their output, want 1", len(m))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	srv, err := embedded.Start(ctx, embedded.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	member, err := bus.Join(ctx, bus.Config{InProcess: srv, List: list})
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	if err := member.WaitFresh(ctx); err != nil {
		t.Fatal(err)
	}
	old := revoke.Identity{Issuer: "https://auth.example.com", Token: "t", Subject: "user-1", Client: "web", IssuedAt: time.Now().Add(-time.Minute)}
	if err := list.Check(revoke.Now(), &old, revoke.Deny()); err != nil {
		t.Fatalf("before: %v", err)
	}

	run := func(script string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "bash", "-eu", "-c", script)
		cmd.Env = append(os.Environ(), "NATS_URL="+srv.URL(), "HOME="+t.TempDir())
		return cmd.Output()
	}
	// What is not acknowledged is a failure.
	for change, to := range map[string]string{":REVOCATIONS'": ":OTHER'", "revocations.v1.": "elsewhere.v1."} {
		if out, err := run(strings.Replace(m[0][1], change, to, 1)); err == nil {
			t.Errorf("with %s the commands succeed: %s", to, out)
		}
	}
	out, err := run(m[0][1])
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(m[0][2]), "…", `\d+`) + "$"
	if err != nil || !regexp.MustCompile(pattern).Match(out) {
		t.Fatalf("%v\nprinted:\n%swant:\n%s", err, out, m[0][2])
	}

	if err := member.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	later := old
	later.IssuedAt = time.Now().Add(time.Minute)
	other := old
	other.Subject = "user-2"
	for name, c := range map[string]struct {
		id      revoke.Identity
		refused bool
	}{"a token from before": {old, true}, "the next login's": {later, false}, "another user's": {other, false}} {
		if err := list.Check(revoke.Now(), &c.id, revoke.Deny()); (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := list.Stats(revoke.Now()); len(s.Unusable) != 0 {
		t.Errorf("members that could not be used: %v", s.Unusable)
	}

	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, bus.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := stream.GetLastMsgForSubject(ctx, bus.Subject("https://auth.example.com", revoke.KindSubject))
	if err != nil {
		t.Fatal(err)
	}
	if stored.Header.Get("Nats-TTL") == "" || stored.Header.Get("Nats-Msg-Id") == "" {
		t.Errorf("stored with the headers %v", stored.Header)
	}
}
