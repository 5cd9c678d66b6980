package examples_test

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// browsersFrame is the program around the Go block of docs/browsers.md. It prints its port.
const browsersFrame = `package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func shop(mux *http.ServeMux) error {
//BLOCK
	return nil
}

func main() {
	mux := http.NewServeMux()
	if err := shop(mux); err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(ln, mux))
}
`

// TestBrowsersDocumentRuns runs the program of docs/browsers.md and the commands that the page
// gives after it, with the real curl, and compares what they print with what the page says.
func TestBrowsersDocumentRuns(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "there is no program "+program+" to run the commands of docs/browsers.md")
		}
	}
	text, err := os.ReadFile("../docs/browsers.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	session := regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(program) != 1 || len(session) != 1 {
		t.Fatalf("%d Go blocks and %d of commands, want one of each", len(program), len(session))
	}
	address := "http://localhost:" + startProgram(t, strings.Replace(browsersFrame, "//BLOCK\n", program[0][1], 1))

	// Each command, and what it is to print; what differs from run to run is "…".
	var commands, wants []string
	for line := range strings.Lines(session[0][1]) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands, wants = append(commands, command), append(wants, "")
		} else {
			wants[len(wants)-1] += line
		}
	}
	const mark = "-- next command --\n"
	cmd := exec.CommandContext(t.Context(), "bash", "-e")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "no_proxy=localhost", "NO_PROXY=localhost")
	script := "shopt -s expand_aliases\n"
	for _, c := range commands {
		script += strings.ReplaceAll(c, "http://localhost:8080", address) + "echo '" + strings.TrimSpace(mark) + "'\n"
	}
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	prints := strings.Split(string(out), mark)
	if len(prints) != len(commands)+1 || len(commands) < 10 {
		t.Fatalf("%d commands printed %d times", len(commands), len(prints)-1)
	}
	for i, c := range commands {
		got := strings.ReplaceAll(prints[i], address, "http://localhost:8080")
		pattern := strings.ReplaceAll(regexp.QuoteMeta(wants[i]), "…", `[^"}]+`)
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%sprinted %q, want %q", c, got, wants[i])
		}
	}
}

// startProgram runs a program of this module until the test ends, and returns the first line
// that it prints.
func startProgram(t *testing.T, src string) string {
	t.Helper()
	program := buildProgram(t, src)
	cmd := exec.CommandContext(t.Context(), program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
