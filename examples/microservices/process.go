package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A process is one of the programs, running. Its log is a file.
type process struct {
	name, log string
	cmd       *exec.Cmd
	exited    chan struct{}
	firstLine chan string // of its standard output
}

// start starts a program of the folder bin. Its log is appended to that of earlier runs.
func (s *system) start(name string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(s.data, name+".log"), exited: make(chan struct{}), firstLine: make(chan string, 1)}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own
	p.cmd = exec.Command(filepath.Join(s.bin, name), args...)
	p.cmd.Env = append(os.Environ(), s.environment(name)...)
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	s.running = append(s.running, p)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		p.firstLine <- strings.TrimSpace(line)
		_ = p.cmd.Wait() // ProcessState tells
		close(p.exited)
	}()
	return p, nil
}

// url waits for the line by which a service tells where it serves.
func (p *process) url(ctx context.Context) (string, error) {
	select {
	case line := <-p.firstLine:
		if line == "" {
			return "", fmt.Errorf("%s did not start: see %s", p.name, p.log)
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s does not start: %w", p.name, ctx.Err())
	}
}

// stop asks the process to end, as an orchestrator does, and waits until it has. It is an error if
// it ends with another exit code than 0.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, errors.ErrUnsupported) {
		_ = p.cmd.Process.Kill() // Windows has no such signal
	}
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.kill()
		return fmt.Errorf("%s does not end: see %s", p.name, p.log)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %s: see %s", p.name, p.cmd.ProcessState, p.log)
	}
	return nil
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
