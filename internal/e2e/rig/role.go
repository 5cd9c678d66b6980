package rig

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A Role is a process of the test's own program that plays a role of Main.
type Role struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

// StartRole starts one, with that value of the variable of its role. It is killed when ctx
// ends; each is waited for by Kill or End.
func StartRole(ctx context.Context, t *testing.T, variable, value string) *Role {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &Role{t, cmd, stdin, bufio.NewScanner(stdout)}
}

// Scan returns the next line that it prints; ok is false when it has ended.
func (r *Role) Scan() (line string, ok bool) {
	ok = r.lines.Scan()
	return strings.TrimSpace(r.lines.Text()), ok
}

// Next returns the next line that it prints, which there must be.
func (r *Role) Next() string {
	r.t.Helper()
	line, ok := r.Scan()
	if !ok {
		r.t.Fatal("the process has ended: ", r.lines.Err())
	}
	return line
}

// Signal sends it a signal, such as one that freezes it.
func (r *Role) Signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Error(err)
	}
}

// Kill ends it, frozen or not, and waits. What it has printed and nobody has read is lost.
func (r *Role) Kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // it was killed
}

// End closes its standard input and waits until it has ended by itself.
func (r *Role) End() {
	r.t.Helper()
	r.stdin.Close()
	if err := r.cmd.Wait(); err != nil {
		r.t.Error(err)
	}
}
