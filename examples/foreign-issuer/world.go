package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/token"
)

// A world is the provider, a process of its own, and our service and revoker.
type world struct {
	issuer   string // the provider's address and name
	secret   string // of its client
	service  string
	verifier *token.Verifier
	revoker  *bus.Member
	stop     func() // the provider
	stderr   lockedBuffer

	open []func()
}

func (w *world) close() {
	for i := len(w.open) - 1; i >= 0; i-- {
		w.open[i]()
	}
}

func (w *world) start(ctx context.Context, node, dir string) error {
	if err := w.startProvider(ctx, node, dir); err != nil {
		return err
	}
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		return err
	}
	w.open = append(w.open, func() { srv.Close() })
	if err := w.startService(ctx, srv, w.issuer); err != nil {
		return err
	}
	return w.startRevoker(ctx, srv, w.issuer)
}

// startProvider starts oidc-provider on a free port, which its name holds.
func (w *world) startProvider(ctx context.Context, node, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	l.Close()
	if err != nil {
		return err
	}
	w.secret = rand.Text()
	cmd := exec.CommandContext(ctx, node, "provider.mjs")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PORT="+port, "CLIENT_SECRET="+w.secret)
	cmd.Stderr = &w.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	w.stop = sync.OnceFunc(func() {
		in.Close() // at which it ends
		giveUp := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer giveUp.Stop()
		cmd.Wait()
	})
	w.open = append(w.open, w.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the provider does not start: %w", err)
	}
	w.issuer = strings.TrimSpace(line)
	return nil
}

// serve serves h on a free port of this machine and returns the URL.
func (w *world) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	w.open = append(w.open, func() { srv.Close() })
	return "http://" + l.Addr().String(), nil
}

// A lockedBuffer keeps what the provider writes to standard error, up to a bound.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text) < 64<<10 {
		b.text = append(b.text, p...)
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
