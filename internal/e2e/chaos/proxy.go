package main

import (
	"net"
	"sync"
)

// A proxy carries bytes to one address, unless told to cut the link or to let it
// hang: then nothing passes and neither end is told.
type proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	cut   bool              // guarded by mu
	hung  chan struct{}     // guarded by mu: closed when it ends
	conns map[net.Conn]bool // guarded by mu
}

func newProxy(target string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) close() {
	p.ln.Close()
	p.heal()
	p.drop()
	p.wg.Wait()
}

// isolate cuts the link, aloud, or lets it hang.
func (p *proxy) isolate(hang bool) {
	p.mu.Lock()
	if hang && p.hung == nil {
		p.hung = make(chan struct{})
	}
	p.cut = !hang
	p.mu.Unlock()
	if !hang {
		p.drop()
	}
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	if p.hung != nil {
		close(p.hung)
		p.hung = nil
	}
}

func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) accept() {
	for {
		from, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.cut {
			p.mu.Unlock()
			from.Close()
			continue
		}
		p.conns[from] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.carry(from) })
	}
}

func (p *proxy) carry(from net.Conn) {
	defer p.forget(from)
	p.wait()
	to, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.conns[to] = true
	if p.cut {
		to.Close()
	}
	p.mu.Unlock()
	defer p.forget(to)
	p.wg.Go(func() {
		p.copy(to, from)
		to.Close()
		from.Close()
	})
	p.copy(from, to)
	from.Close()
	to.Close()
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Close()
	delete(p.conns, c)
}

// wait returns once the link does not hang.
func (p *proxy) wait() {
	p.mu.Lock()
	hung := p.hung
	p.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (p *proxy) copy(dst, src net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		p.wait()
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
