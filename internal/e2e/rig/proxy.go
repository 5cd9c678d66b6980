package rig

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Proxy stands between a client and a server and can lose single messages, cut
// connections, or let them hang, without either end being told.
type Proxy struct {
	t      *testing.T
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool         // guarded by mu
	drop  func(subject string) bool // guarded by mu: of messages on their way to the client; called under mu
	edit  func(line []byte)         // guarded by mu: of the first line of each; called under mu
	body  func(body []byte)         // guarded by mu: of what each holds beside; called under mu
	sent  func(b []byte)            // guarded by mu: of bytes on their way to the server
	hung  chan struct{}             // guarded by mu: nothing passes until it is closed
	gulp  int                       // guarded by mu: bytes to the client between two pauses; 0: no pauses
	rest  time.Duration             // guarded by mu: of each pause
}

func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{t: t, ln: ln, target: strings.TrimPrefix(target, "nats://"), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.Resume()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

func (p *Proxy) URL() string { return "nats://" + p.ln.Addr().String() }

// Cut closes all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

// Lose has messages to the client disappear for which f, called once for each at a
// time, returns true.
func (p *Proxy) Lose(f func(subject string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = f
}

// CutWhileAsking makes a call that asks through the proxy, loses its answer and then the
// connection, and returns what the call makes of it.
func (p *Proxy) CutWhileAsking(ctx context.Context, call func(context.Context) error) error {
	asked := make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	p.Lose(func(string) bool { once(); return true })
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	<-asked
	p.Lose(nil)
	p.Cut()
	return <-done
}

// Change has f change the line that begins each message to the client, in place.
func (p *Proxy) Change(f func(line []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edit = f
}

// Rewrite has f change headers and payload of each message to the client, in place.
func (p *Proxy) Rewrite(f func(body []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = f
}

// Sent has f look at what is sent to the server, piece by piece, and change it in place.
func (p *Proxy) Sent(f func(b []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = f
}

// Hang lets nothing pass in either direction; resume ends that.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = make(chan struct{})
}

// Throttle has each connection to a client stand still for rest after every gulp bytes.
func (p *Proxy) Throttle(gulp int, rest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gulp, p.rest = gulp, rest
}

// stall waits if passed bytes are more than the line takes at once, and returns how
// many still count.
func (p *Proxy) stall(passed int) int {
	p.mu.Lock()
	gulp, rest := p.gulp, p.rest
	p.mu.Unlock()
	if gulp == 0 || passed < gulp {
		return passed
	}
	select {
	case <-time.After(rest):
	case <-p.t.Context().Done():
	}
	return 0
}

func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hung != nil {
		close(p.hung)
		p.hung = nil
	}
}

func (p *Proxy) pass() {
	p.mu.Lock()
	hung := p.hung
	p.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		srv, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[srv] = true, true
		p.mu.Unlock()
		done := func() { client.Close(); srv.Close() }
		p.wg.Go(func() { defer done(); p.copy(srv, client) })
		p.wg.Go(func() { defer done(); p.frames(client, srv) })
	}
}

// copy carries bytes to the server.
func (p *Proxy) copy(dst io.Writer, src io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.pass()
		if n > 0 {
			p.mu.Lock()
			sent := p.sent
			p.mu.Unlock()
			if sent != nil {
				sent(buf[:n])
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// frames carries the protocol to the client, message by message.
func (p *Proxy) frames(dst io.Writer, src io.Reader) {
	r := bufio.NewReaderSize(src, 64<<10)
	w := bufio.NewWriterSize(dst, 64<<10)
	passed := 0
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		frame := line
		keep := true
		fields := bytes.Fields(line)
		if len(fields) >= 4 && (string(fields[0]) == "MSG" || string(fields[0]) == "HMSG") {
			n, err := strconv.Atoi(string(fields[len(fields)-1]))
			if err != nil {
				return
			}
			frame = append(line, make([]byte, n+2)...)
			if _, err := io.ReadFull(r, frame[len(line):]); err != nil {
				return
			}
			p.mu.Lock()
			keep = p.drop == nil || !p.drop(string(fields[1]))
			if p.edit != nil {
				p.edit(frame[:len(line)])
			}
			if p.body != nil {
				p.body(frame[len(line):])
			}
			p.mu.Unlock()
		}
		p.pass()
		if keep {
			if _, err := w.Write(frame); err != nil {
				return
			}
			if passed += len(frame); p.stall(passed) == 0 {
				passed = 0
			}
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return
			}
		}
	}
}
