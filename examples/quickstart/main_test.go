package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// TestMain is the quickstart itself when a test asks for it, so that tests see its
// exit code.
func TestMain(m *testing.M) {
	if os.Getenv("QUICKSTART_TEST_MAIN") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func mainWith(t *testing.T, natsURL string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "QUICKSTART_TEST_MAIN=1", "NATS_URL="+natsURL)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var (
	rowPattern = regexp.MustCompile(`(?m)^one (token|session|user|key) +([\d.]+ +){4}[\d.]+$`)
	heldLine   = regexp.MustCompile(`(?m)^all \d+ expectations held\n\z`)
)

// What the quickstart prints, and what docs/how-it-works.md shows of it.
//
//blocks:run docs/how-it-works.md -
func TestMainSucceeds(t *testing.T) {
	out, errs, code := mainWith(t, "")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, standard error %q\n%s", code, errs, out)
	}
	checkOutput(t, out)

	// The table that docs/how-it-works.md shows is one that it prints, but for the figures.
	page, err := os.ReadFile("../../docs/how-it-works.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```\n(revoked .*?)^```$").FindSubmatch(page)
	if shown == nil {
		t.Fatal("docs/how-it-works.md shows no table")
	}
	table := regexp.MustCompile(`[\d.]+`).ReplaceAllString(string(shown[1]), `[\d.]+`)
	table = regexp.MustCompile(` +`).ReplaceAllString(table, ` +`)
	if !regexp.MustCompile(`(?m)^` + table).MatchString(out) {
		t.Errorf("docs/how-it-works.md shows\n%sprinted was\n%s", shown[1], out)
	}
}

func checkOutput(t *testing.T, out string) {
	t.Helper()
	var rows []string
	for _, m := range rowPattern.FindAllStringSubmatch(out, -1) {
		rows = append(rows, m[1])
	}
	if got := strings.Join(rows, " "); got != "token session user key" {
		t.Errorf("rows of the table: %s", got)
	}
	if !heldLine.MatchString(out) {
		t.Error("the last line does not say that all expectations held")
	}
	if strings.Contains(out, "NOT AS EXPECTED") || strings.Contains(out, "eyJ") {
		t.Error("a broken expectation, or a token, in the output")
	}
	if t.Failed() {
		t.Log(out)
	}
}

// The twins: a service that does not obey is noticed, and so is one that obeys too much.
func TestRunNoticesABrokenService(t *testing.T) {
	unfed, err := revoke.NewList(revoke.Config{}) // nobody follows the bus into it
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tune func(*token.VerifierConfig)
		says string
	}{
		"without denylist":    {func(c *token.VerifierConfig) { c.Revocations, c.InsecureNoRevocations = nil, true }, "billing goes on accepting alice's laptop for"},
		"blind and fail-open": {func(c *token.VerifierConfig) { c.Revocations, c.WhenStale = unfed, revoke.InsecureAllow() }, "billing goes on accepting alice's laptop for"},
		"blind":               {func(c *token.VerifierConfig) { c.Revocations = unfed }, "billing answers 503 to alice's phone, not 200"},
		"refusing everything": {func(c *token.VerifierConfig) { c.Audiences = []string{"other"} }, "billing answers 401 to alice's phone, not 200"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(t.Context(), &out, config{patience: time.Second, tune: func(service string, v *token.VerifierConfig) {
				if service == "billing" {
					c.tune(v)
				}
			}})
			if err == nil || !strings.Contains(err.Error(), "expectations did not hold") {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), "NOT AS EXPECTED: "+c.says) {
				t.Errorf("the output does not say %q", c.says)
			}
			if heldLine.MatchString(out.String()) || strings.Contains(out.String(), "NOT AS EXPECTED: orders") {
				t.Error("the output is wrong about who is broken")
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func startPlainNATS(t *testing.T, jetStream bool) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: jetStream, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server not ready")
	}
	return s.ClientURL()
}

func TestMainUsesNATSURL(t *testing.T) {
	url := startPlainNATS(t, true)
	for _, round := range []string{"the stream is made", "the stream is there"} {
		out, errs, code := mainWith(t, url)
		if code != 0 || errs != "" {
			t.Fatalf("%s: exit code %d, standard error %q\n%s", round, code, errs, out)
		}
		if !strings.HasPrefix(out, "nats     NATS_URL, stream ") {
			t.Errorf("%s: the first line does not name the server: %.80q", round, out)
		}
		checkOutput(t, out)
	}
}

func TestMainExplains(t *testing.T) {
	for name, c := range map[string]struct{ url, says string }{
		"nobody there": {"nats://127.0.0.1:1", "no server answers at NATS_URL"},
		"no JetStream": {startPlainNATS(t, false), "is JetStream enabled?"},
	} {
		out, errs, code := mainWith(t, c.url)
		if code != 1 || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit code %d, standard error %q\n%s", name, code, errs, out)
		}
	}
}

func TestRunEndsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	err := run(ctx, writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "logs out") {
			cancel()
		}
		return out.Write(p)
	}), config{patience: time.Minute})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if strings.Contains(out.String(), "NOT AS EXPECTED") {
		t.Errorf("an interruption is no broken expectation:\n%s", out.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
