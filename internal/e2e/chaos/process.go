package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A process is one child of the driver's.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	log    *os.File
	last   atomic.Pointer[report]
	exited chan struct{} // closed when it has; err is then set
	err    error
}

// start runs this program again as a process of that role.
func start(role string, cfg childConfig, logs string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	p := &process{name: cfg.Name, cmd: exec.Command(self), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(text))
	ownGroup(p.cmd)
	if p.log, err = os.OpenFile(filepath.Join(logs, cfg.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.log
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		in := bufio.NewScanner(stdout)
		for in.Scan() {
			var r report
			if json.Unmarshal(in.Bytes(), &r) == nil {
				p.last.Store(&r)
			}
		}
		p.err = p.cmd.Wait()
		p.log.Close()
		close(p.exited)
	}()
	return p, nil
}

// command tells the process to do something.
func (p *process) command(format string, args ...any) { fmt.Fprintf(p.stdin, format+"\n", args...) }

// kill ends the process at once, frozen or not, and waits for it.
func (p *process) kill() {
	if p.running() {
		_ = kill(p.cmd) // fails if it has just ended
	}
	<-p.exited
}

// ends waits until the process has ended by itself.
func (p *process) ends(within time.Duration) error {
	select {
	case <-p.exited:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("%s does not end", p.name)
	}
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// status returns the newest report, or an empty one.
func (p *process) status() report {
	if r := p.last.Load(); r != nil {
		return *r
	}
	return report{}
}
