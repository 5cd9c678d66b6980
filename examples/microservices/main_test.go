package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/fenced"
	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// TestMain is, when a test asks for it, a service that obeys no logout.
func TestMain(m *testing.M) {
	if status := os.Getenv("MICROSERVICES_TEST_DEAF"); status != "" {
		deaf(status)
	}
	os.Exit(m.Run())
}

func deaf(status string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" && status == "403" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
}

// The day goes well, and prints what README.md says.
//
//blocks:run examples/microservices/README.md sh text
func TestDay(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, config{once: true, patience: time.Minute, refusal: time.Minute}); err != nil {
		t.Errorf("%v\n%s", err, logs(err))
	}
	if !strings.HasSuffix(out.String(), "\nall 9 steps went as they should\n") || strings.Contains(out.String(), "eyJ") {
		t.Errorf("it says:\n%s", &out)
	}
	shown, err := fenced.Page("../..", "examples/microservices/README.md", "text")
	if err != nil || len(shown) != 1 || !fenced.Matches(out.String(), shown[0].Body) {
		t.Errorf("README.md shows %v (error: %v), printed was\n%s", shown, err, &out)
	}
}

// The twins: services that accept everything, or nothing, are noticed.
func TestDayNoticesABrokenService(t *testing.T) {
	for status, says := range map[string]string{
		"200": "not so: billing refuses the token of a session that has ended: context deadline exceeded: it answers 200, not 401",
		"403": "billing answers 200 to (alice|bob): it answers 403",
	} {
		t.Run(status, func(t *testing.T) {
			var out bytes.Buffer
			var data string
			err := run(t.Context(), &out, config{once: true, patience: time.Minute, refusal: time.Second, tune: func(s *system) {
				data = s.data
				s.env = append(s.env, "MICROSERVICES_TEST_DEAF="+status)
				this, err := os.ReadFile(os.Args[0])
				if err == nil {
					err = os.WriteFile(filepath.Join(s.bin, "billing"), this, 0o700)
				}
				if err != nil {
					t.Fatal(err)
				}
			}})
			defer os.RemoveAll(data)
			if err == nil || !regexp.MustCompile(says).MatchString(err.Error()) || strings.Contains(out.String(), "went as they should") {
				t.Errorf("error %v, want %s\n%s", err, says, &out)
			}
		})
	}
}

// rights are the users of the bus that each process can be.
var rights = map[string][]string{
	"nats-server": {"AUTH", "OPERATOR", "PUBLISHER", "SESSIONS", "SESSIONS_OPERATOR", "VERIFIER"}, // which compares them
	"auth":        {"AUTH", "SESSIONS"},
	"orders":      {"VERIFIER"},
	"billing":     {"VERIFIER"},
}

func passwords(env []string) (users []string) {
	for _, e := range env {
		if user, _, ok := strings.Cut(e, "_PASSWORD="); ok {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// Whatever ends the program, it ends its services, none of which was given another's password.
func TestInterruptEndsEverything(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var s *system
	out := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "until ctrl-C") {
			cancel()
		}
		return len(p), nil
	})
	if err := run(ctx, out, config{patience: time.Minute, refusal: time.Minute, tune: func(of *system) { s = of }}); err != nil {
		t.Fatalf("%v\n%s", err, logs(err))
	}
	if len(s.running) != 4 {
		t.Errorf("%d processes", len(s.running))
	}
	for _, p := range s.running {
		if got, want := passwords(p.cmd.Env[len(os.Environ()):]), rights[p.name]; !slices.Equal(got, want) {
			t.Errorf("%s was given the passwords of %q, want %q", p.name, got, want)
		}
		if !p.ended() || p.cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("%s: %v", p.name, p.cmd.ProcessState)
		}
	}
	if _, err := os.Stat(s.data); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", s.data, err)
	}
}

// The lines that the program prints, typed into a shell, call both services and log out.
func TestInvitation(t *testing.T) {
	for _, program := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "no "+program+" is installed")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var lines, codes string
	out := writerFunc(func(p []byte) (int, error) {
		switch line := string(p); {
		case strings.HasPrefix(line, "token="):
			lines += line
		case strings.HasPrefix(line, "curl "):
			lines += "curl -s -o /dev/null -w '%{http_code} '" + strings.TrimPrefix(line, "curl")
		}
		if strings.Contains(string(p), "/oauth/logout") {
			b, err := exec.CommandContext(ctx, "sh", "-c", lines).CombinedOutput()
			if codes = string(b); err != nil {
				t.Errorf("%v: %s", err, b)
			}
			cancel()
		}
		return len(p), nil
	})
	if err := run(ctx, out, config{patience: time.Minute, refusal: time.Minute}); err != nil {
		t.Fatalf("%v\n%s", err, logs(err))
	}
	if codes != "200 200 204 " {
		t.Errorf("the lines are answered %q:\n%s", codes, lines)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// logs returns the end of each log that an error tells of, and removes them.
func logs(err error) string {
	var b strings.Builder
	dir := regexp.MustCompile(`logs are in (\S+)`).FindStringSubmatch(fmt.Sprint(err))
	if dir == nil {
		return ""
	}
	defer os.RemoveAll(dir[1])
	files, _ := filepath.Glob(filepath.Join(dir[1], "*.log"))
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(f)
		f.Close()
		fmt.Fprintf(&b, "--- %s\n%s", filepath.Base(name), text[max(0, len(text)-3000):])
	}
	return b.String()
}
