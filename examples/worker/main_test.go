package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/examples/worker/internal/job"
	"github.com/hybridtoken/hybridtoken/internal/fenced"
	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// The two days go well, and print what README.md says.
//
//blocks:run examples/worker/README.md sh text
func TestDays(t *testing.T) {
	var out bytes.Buffer
	d := &days{out: &out, log: silent, data: t.TempDir()}
	if err := d.play(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(out.String(), "\neverything went as it should\n") || strings.Contains(out.String(), "eyJ") {
		t.Errorf("it says:\n%s", &out)
	}
	shown, err := fenced.Page("../..", "examples/worker/README.md", "text")
	if err != nil || len(shown) != 1 || !fenced.Matches(out.String(), shown[0].Body) {
		t.Errorf("README.md shows %v (error: %v), printed was\n%s", shown, err, &out)
	}
}

// The twins: a worker that looks at no denylist, and one that goes on when it cannot know, are noticed.
func TestDaysNotice(t *testing.T) {
	for says, tune := range map[string]func(*token.VerifierConfig){
		"is done, not postponed: stale": func(c *token.VerifierConfig) { c.WhenStale = revoke.InsecureAllow() },
		"is done, not postponed":        func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = nil, true },
		"is refused: issuer, not done":  func(c *token.VerifierConfig) { c.Issuer += "/" },
	} {
		d := &days{out: io.Discard, log: silent, data: t.TempDir(), tune: tune}
		if err := d.play(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want %q", err, says)
		}
	}
}

// The lines that the program prints, typed into a shell, queue a report.
func TestInvitation(t *testing.T) {
	for _, program := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "no "+program+" is installed")
		}
	}
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(t.TempDir(), "nats")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	a, err := startApp(t.Context(), server, t.TempDir(), "127.0.0.1:0", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	lines := strings.Replace(invitation(a.url), "curl -X", "curl -s -w '%{http_code}' -X", 1)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", lines).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "202") {
		t.Errorf("error %v, answer %q", err, out)
	}
}

// What is no job, or one whose token has run out, is dropped and holds up nothing. No job holds a token.
func TestJobs(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: filepath.Join(t.TempDir(), "nats")})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	a, err := startApp(t.Context(), server, t.TempDir(), "127.0.0.1:0", silent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	as, err := loginAs(t.Context(), a, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), a, as, "good"); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), queueStream)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(as.token, ".") {
		if bytes.Contains(first.Data, []byte(part)) {
			t.Error("a part of the token is in the queue")
		}
	}
	var late job.Job
	if err := json.Unmarshal(first.Data, &late); err != nil {
		t.Fatal(err)
	}
	late.Report, late.For.IssuedAt, late.For.MintedAt, late.For.ExpiresAt = "late", time.Now().Add(-2*time.Hour), time.Time{}, time.Now().Add(-time.Hour)
	nobodys, _ := json.Marshal(job.Job{Report: "nobody's"})
	lates, _ := json.Marshal(late)
	last, _ := json.Marshal(job.Job{Report: "last", For: late.For})
	for _, data := range [][]byte{[]byte("junk"), []byte(`{"for":{}}`), nobodys, lates, last} {
		if _, err := js.Publish(t.Context(), queueSubject, data); err != nil {
			t.Fatal(err)
		}
	}

	told := make(chan string, 16)
	w, err := startWorker(t.Context(), workerConfig{queue: server, revocations: server, keysURL: a.keys(), log: silent, tell: func(j job.Job, outcome string) {
		if !strings.HasPrefix(outcome, "postponed") { // until the replica is fresh
			told <- j.Report + " " + outcome
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	want := map[string]bool{"good done": true, "nobody's refused: issuer": true, "late refused: expired": true, "last refused: expired": true}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(want) > 0 {
		select {
		case got := <-told:
			if !want[got] {
				t.Fatalf("%s", got)
			}
			delete(want, got)
		case <-ctx.Done():
			t.Fatalf("not told of %v", want)
		}
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
	for { // the server removes what was ended with Term a little later
		info, err := stream.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs == 0 {
			return
		}
	}
}
