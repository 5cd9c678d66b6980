package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// TestMain is the example itself when a test asks for it, so that tests see its exit code.
func TestMain(m *testing.M) {
	if os.Getenv("OTHER_LANGUAGES_TEST_MAIN") != "" {
		os.Args = os.Args[:1]
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func need(t *testing.T) {
	t.Helper()
	if _, _, _, err := tools(t.Context()); err != nil {
		gate.Skip(t, err.Error())
	}
}

func mainWith(t *testing.T, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "OTHER_LANGUAGES_TEST_MAIN=1"), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestOtherLanguages runs the command of README.md that ends by itself, from the top of the repository.
//
//blocks:run examples/other-languages/README.md -
func TestOtherLanguages(t *testing.T) {
	need(t)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile("(?m)^```\ngo run (\\./examples/other-languages) -once +# ").FindSubmatch(text)
	if command == nil {
		t.Fatal("README.md does not begin with the command")
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", string(command[1]), "-once")
	cmd.Dir = "../.."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	out := string(b)
	if err != nil {
		t.Fatalf("%v, standard error %q\n%s", err, &errs, out)
	}
	if !regexp.MustCompile(`(?m)^Node passes all vectors of bus/WIRE.md: 1\d\d events, \d+ digests$`).MatchString(out) ||
		len(regexp.MustCompile(`(?m)^  refused after  go [\d.]+ ms  node [\d.]+ ms  python [\d.]+ ms$`).FindAllString(out, -1)) != 4 ||
		!strings.HasSuffix(out, "\nall expectations held\n") || strings.Contains(out, "eyJ") {
		t.Errorf("printed:\n%s", out)
	}
}

// What is missing is said in a sentence.
func TestSaysWhatIsMissing(t *testing.T) {
	out, errs, code := mainWith(t, "PATH="+t.TempDir())
	if code != 2 || errs != "other-languages: there is no node: it needs Node 20 or later (https://nodejs.org, or apt-get install nodejs npm)\n" || out != "" {
		t.Errorf("exit code %d, standard error %q\n%s", code, errs, out)
	}
}

// The twins: a program in another language that does not do as bus/WIRE.md says is noticed.
func TestNoticesABrokenProgram(t *testing.T) {
	need(t)
	for name, c := range map[string]struct{ file, from, to, says string }{
		"a vector fails":                         {"node/event.mjs", "v.length <= 64", "v.length <= 65", "vectors of bus/WIRE.md do not pass"},
		"a digest fails":                         {"node/digest.mjs", "g.count++", "g.count += 2", "vectors of bus/WIRE.md do not pass"},
		"Node revokes nobody":                    {"node/replica.mjs", "isRevoked(t) {", "isRevoked(t) { return false", "node refuses alice's laptop"},
		"Node forgets what was kept":             {"node/replica.mjs", "e.spares.has(t.sid)", "false", "node answers 200 to alice's tablet"},
		"Node is fresh for ever":                 {"node/replica.mjs", "isFresh(maxStaleness) {", "isFresh(maxStaleness) { return true", "node answers 503 to alice's tablet"},
		"Node's messages stay for ever":          {"node/publish.mjs", "'Nats-TTL'", "'Nats-Ttl'", "what Node has stored lives for \"\""},
		"Node's messages end past the clock":     {"node/publish.mjs", "Math.min(until ?? now + tokenLifetime, furthest)", "until ?? now + tokenLifetime", "what Node has stored"},
		"Node's digest is of another log":        {"node/follow.mjs", "this.digest.add(message)", "this.digest.add({ ...message, seq: message.seq + 1 })", "Go agrees with a digest of Node's"},
		"Node takes an outage for a bad token":   {"node/api.mjs", "JOSEError && !noKeys", "JOSEError", "node answers 503 to bob's"},
		"Python takes an outage for a bad token": {"python/api.py", "        raise Unknown from err\n    try:", "        raise Refused from err\n    try:", "python answers 503 to bob's"},
		"Node does not notice what is lost":      {"node/publish.mjs", "(ack.duplicate !== true && ack.seq > before)", "ack.duplicate !== true", "the stream holds the laptop's session again"},
		"Python asks nobody":                     {"python/api.py", "            judge(t)\n", "", "python refuses alice's laptop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := func(patience time.Duration) (string, error) {
				var out bytes.Buffer
				err := run(t.Context(), &out, config{once: true, patience: patience, edit: func(name string, text []byte) []byte {
					if name != c.file {
						return text
					}
					if !bytes.Contains(text, []byte(c.from)) {
						t.Errorf("%s lacks %q", name, c.from)
					}
					return bytes.ReplaceAll(text, []byte(c.from), []byte(c.to))
				}})
				return out.String(), err
			}
			out, err := broken(20 * time.Second)
			if err != nil && !strings.Contains(err.Error(), c.says) {
				// On a busy machine what is not broken may take longer than what is waited for.
				out, err = broken(2 * time.Minute)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one with %q\n%s", err, c.says, out)
			}
		})
	}
}
