package examples_test

import (
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/gate"
)

// TestAppsRuns runs the service of docs/apps.md, and against it the shell blocks in their
// order, in one shell: each prints what the block after it says.
//
//blocks:run docs/apps.md go sh text
func TestAppsRuns(t *testing.T) {
	for _, program := range []string{"curl", "bash", "sed", "grep"} {
		if _, err := exec.LookPath(program); err != nil {
			gate.Skip(t, "there is no "+program)
		}
	}
	var src string
	var steps []step
	last := ""
	for _, b := range pageBlocks(t, "docs/apps.md", "go", "sh", "text") {
		switch b.Kind {
		case "go":
			if src != "" {
				t.Fatal("two Go blocks")
			}
			src = b.Body
		case "sh":
			steps = append(steps, step{script: b.Body})
		case "text":
			if last != "sh" {
				t.Fatal("output of no shell block")
			}
			steps[len(steps)-1].prints = b.Body
		}
		last = b.Kind
	}
	if src == "" || len(steps) < 4 {
		t.Fatalf("%d bytes of Go, %d shell blocks", len(src), len(steps))
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
	if err := runSteps(t, steps, strings.NewReplacer("127.0.0.1:8080", address)); err != nil {
		t.Error(err)
	}
}
