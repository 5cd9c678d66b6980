package e2e_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A proxy stands between a client and a server and can lose single messages, cut
// connections, or let them hang, without either end being told.
type proxy struct {
	t      *testing.T
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool         // guarded by mu
	drop  func(subject string) bool // guarded by mu: of messages on their way to the client; called under mu
	edit  func(line []byte)         // guarded by mu: of the first line of each; called under mu
	body  func(body []byte)         // guarded by mu: of what each holds beside; called under mu
	hung  chan struct{}             // guarded by mu: nothing passes until it is closed
	gulp  int                       // guarded by mu: bytes to the client between two pauses; 0: no pauses
	rest  time.Duration             // guarded by mu: of each pause
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, target: strings.TrimPrefix(target, "nats://"), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.resume()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
		delete(p.conns, c)
	}
}

// lose has messages to the client disappear for which f, called once for each at a
// time, returns true.
func (p *proxy) lose(f func(subject string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = f
}

// change has f change the line that begins each message to the client, in place.
func (p *proxy) change(f func(line []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.edit = f
}

// rewrite has f change headers and payload of each message to the client, in place.
func (p *proxy) rewrite(f func(body []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.body = f
}

// hang lets nothing pass in either direction; resume ends that.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = make(chan struct{})
}

// throttle has each connection to a client stand still for rest after every gulp bytes.
func (p *proxy) throttle(gulp int, rest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gulp, p.rest = gulp, rest
}

// stall waits if passed bytes are more than the line takes at once, and returns how
// many still count.
func (p *proxy) stall(passed int) int {
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

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hung != nil {
		close(p.hung)
		p.hung = nil
	}
}

func (p *proxy) pass() {
	p.mu.Lock()
	hung := p.hung
	p.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (p *proxy) accept() {
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
func (p *proxy) copy(dst io.Writer, src io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.pass()
		if n > 0 {
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
func (p *proxy) frames(dst io.Writer, src io.Reader) {
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
