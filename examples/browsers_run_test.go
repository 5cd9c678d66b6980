package examples_test

import (
	"bufio"
	"os/exec"
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
//
//blocks:run docs/browsers.md go console
func TestBrowsersDocumentRuns(t *testing.T) {
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "there is no program "+program+" to run the commands of docs/browsers.md")
		}
	}
	program, session := pageBlocks(t, "docs/browsers.md", "go"), pageBlocks(t, "docs/browsers.md", "console")
	if len(program) != 1 || len(session) != 1 {
		t.Fatalf("%d Go blocks and %d of commands, want one of each", len(program), len(session))
	}
	address := "localhost:" + startProgram(t, strings.Replace(browsersFrame, "//BLOCK\n", program[0].Body, 1))
	commands := commandsOf(session[0])
	if len(commands) < 10 {
		t.Fatalf("only %d commands", len(commands))
	}
	if err := runSteps(t, commands, strings.NewReplacer("localhost:8080", address)); err != nil {
		t.Error(err)
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
