package main

import (
	"io"
	"net"
	"sync"
)

// A link is the network between one service and the NATS server. It can be cut, as by a firewall
// or a cable, and mended.
type link struct {
	listener net.Listener
	to       func() string

	mu     sync.Mutex
	isCut  bool
	closed bool
	conns  map[net.Conn]bool
	work   sync.WaitGroup
}

// newLink returns a link to the address that to names.
func newLink(to func() string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, to: to, conns: map[net.Conn]bool{}}
	k.work.Go(k.accept)
	return k, nil
}

func (k *link) url() string { return "nats://" + k.listener.Addr().String() }

func (k *link) accept() {
	for {
		from, err := k.listener.Accept()
		if err != nil {
			return // closed
		}
		k.work.Go(func() { k.carry(from) })
	}
}

// carry carries bytes both ways until one side ends, or the link is cut.
func (k *link) carry(from net.Conn) {
	defer from.Close()
	if !k.keep(from) {
		return
	}
	defer k.drop(from)
	to, err := net.Dial("tcp", k.to())
	if err != nil {
		return
	}
	defer to.Close()
	if !k.keep(to) {
		return
	}
	defer k.drop(to)
	var both sync.WaitGroup
	both.Go(func() { io.Copy(to, from); to.Close() })
	both.Go(func() { io.Copy(from, to); from.Close() })
	both.Wait()
}

// keep remembers a connection, to close it when the link is cut. It is false when that is so.
func (k *link) keep(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.isCut {
		k.conns[c] = true
	}
	return !k.isCut
}

func (k *link) drop(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
}

func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.isCut = true
	for c := range k.conns {
		c.Close()
	}
}

func (k *link) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.isCut = k.closed
}

func (k *link) wasCut() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.isCut
}

func (k *link) close() {
	k.listener.Close()
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.cut()
	k.work.Wait()
}
