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
	if os.Getenv("FOREIGN_ISSUER_TEST_MAIN") != "" {
		os.Args = os.Args[:1]
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func need(t *testing.T) {
	t.Helper()
	if _, _, err := tools(t.Context()); err != nil {
		gate.Skip(t, err.Error())
	}
}

func mainWith(t *testing.T, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "FOREIGN_ISSUER_TEST_MAIN=1"), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestForeignIssuer runs the command of README.md that ends by itself, from the top of the repository.
//
//blocks:run examples/foreign-issuer/README.md -
func TestForeignIssuer(t *testing.T) {
	need(t)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile("(?m)^```\ngo run (\\./examples/foreign-issuer) -once +# ").FindSubmatch(text)
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
	if len(regexp.MustCompile(`(?m)^  refused after [\d.]+ ms$`).FindAllString(out, -1)) != 4 || !strings.HasSuffix(out, "\nall expectations held\n") || strings.Contains(out, "eyJ") {
		t.Errorf("printed:\n%s", out)
	}
}

// What is missing is said in a sentence.
func TestSaysWhatIsMissing(t *testing.T) {
	out, errs, code := mainWith(t, "PATH="+t.TempDir())
	if code != 2 || errs != "foreign-issuer: there is no node: it needs Node 20 or later (https://nodejs.org, or apt-get install nodejs npm)\n" || out != "" {
		t.Errorf("exit code %d, standard error %q\n%s", code, errs, out)
	}
}

// The twins: a provider that is configured in another way is noticed.
func TestNoticesAnotherProvider(t *testing.T) {
	need(t)
	for name, c := range map[string]struct{ from, to, says string }{
		"tokens without a sid":   {"({ sid: token.sid })", "({})", "the provider's tokens have no sid"},
		"a sid of no session":    {"({ sid: token.sid })", "({ sid: token.jti })", "the service answers 401 to what the laptop has refreshed"},
		"opaque tokens":          {"accessTokenFormat: 'jwt'", "accessTokenFormat: 'opaque'", "the service answers 200 to alice's token"},
		"tokens for another API": {"audience: 'https://orders.example.com'", "audience: 'https://billing.example.com'", "the service answers 200 to alice's token"},
		"another algorithm":      {"namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256'", "namedCurve: 'P-384' }).privateKey.export({ format: 'jwk' }), alg: 'ES384'", "alice logs in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), &out, config{once: true, patience: 15 * time.Second, edit: func(text []byte) []byte {
				if !bytes.Contains(text, []byte(c.from)) {
					t.Errorf("the provider lacks %q", c.from)
				}
				return bytes.ReplaceAll(text, []byte(c.from), []byte(c.to))
			}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one with %q\n%s", err, c.says, out.String())
			}
		})
	}
}
