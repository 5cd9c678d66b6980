package examples_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// TestAppsRuns runs the service of docs/apps.md, and against it the shell blocks in their
// order, in one shell: each prints what the block after it says.
func TestAppsRuns(t *testing.T) {
	for _, program := range []string{"curl", "sh", "sed", "grep"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "there is no "+program)
		}
	}
	text, err := os.ReadFile("../docs/apps.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```(go|sh|text)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	var src string
	var script, want strings.Builder
	last := ""
	shells := 0
	for _, b := range blocks {
		switch kind, body := b[1], b[2]; kind {
		case "go":
			if src != "" {
				t.Fatal("two Go blocks")
			}
			src = body
		case "sh":
			fmt.Fprintf(&script, "%s\n", body)
			shells++
		case "text":
			if last != "sh" {
				t.Fatal("output of no shell block")
			}
			want.WriteString(body)
		}
		last = b[1]
	}
	if src == "" || shells < 4 {
		t.Fatalf("%d bytes of Go, %d shell blocks", len(src), shells)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	program := buildProgram(t, strings.ReplaceAll(src, "127.0.0.1:8080", address))
	service := exec.CommandContext(t.Context(), program)
	var logged strings.Builder
	service.Stderr = &logged
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		service.Process.Kill()
		service.Wait() // and nobody writes to logged any more
	})
	defer stop()
	deadline := time.Now().Add(time.Minute)
	for {
		r, err := http.Get("http://" + address + "/.well-known/oauth-authorization-server")
		if err == nil {
			r.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			stop()
			t.Fatalf("the service does not answer: %v\n%s", err, &logged)
		}
		time.Sleep(50 * time.Millisecond) // between two attempts; it counts for nothing
	}
	shell := exec.CommandContext(t.Context(), "sh", "-eu")
	shell.Stdin = strings.NewReader(strings.ReplaceAll(script.String(), "127.0.0.1:8080", address))
	var failed strings.Builder
	shell.Stderr = &failed
	out, err := shell.Output()
	if err != nil || string(out) != want.String() {
		t.Errorf("%v\nprinted:\n%swant:\n%sstderr:\n%s", err, out, want.String(), &failed)
	}
}
