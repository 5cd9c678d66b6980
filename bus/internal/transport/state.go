package transport

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// A State is what was last seen of a connection; immutable. Who asks the client library
// itself waits while that dials, for seconds where a server says nothing.
type State struct {
	Connected bool
	Server    string // its URL, without credentials; empty while not connected
	link      *Link
	over      bool   // the link has ended for good
	err       error  // the client library's last
	epoch     uint64 // see Epoch
}

// State returns what was last seen of the connection.
func (c *Connection) State() State {
	if s := c.state.Load(); s != nil {
		return *s
	}
	if l := c.Link.Load(); l != nil {
		return *l.ask()
	}
	return State{}
}

// IsConnected reports whether the connection was up when it was last seen.
func (c *Connection) IsConnected() bool { return c.State().Connected }

// Await waits until the connection is up. The error is ctx's.
func (c *Connection) Await(ctx context.Context) error {
	changes := c.Listen()
	defer changes.Stop()
	for !c.IsConnected() {
		select {
		case <-changes.Changes():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// ask asks the client library, and waits while that dials.
func (l *Link) ask() *State {
	s := &State{Server: ServerOf(l.Conn), link: l, over: l.Conn.IsClosed(), err: l.Conn.LastError(), epoch: l.epoch()}
	s.Connected = s.Server != ""
	return s
}

// take makes l the present link, and watches it until it ends for good.
func (c *Connection) take(l *Link) {
	changes := l.Conn.StatusChanged()
	c.Link.Store(l)
	c.see(l.ask())
	c.watching.Go(func() { c.watch(l, changes) })
	c.Renewed.Wake()
}

// watch keeps the state up to date until l has ended or c is closed. It asks on the side: that
// a connection is lost is known before the client library, which dials again, answers.
func (c *Connection) watch(l *Link, changes chan nats.Status) {
	defer l.Conn.RemoveStatusListener(changes)
	answer := make(chan *State, 1)
	asking, again := false, false
	ask := func() {
		if again = asking; !asking {
			asking = true
			go func() { answer <- l.ask() }()
		}
	}
	ask()
	look := time.NewTicker(time.Second) // the client library drops events rather than wait
	defer look.Stop()
	for {
		select {
		case status := <-changes:
			if status != nats.CONNECTED {
				last := c.State()
				c.see(&State{link: l, over: status == nats.CLOSED, err: last.err, epoch: last.epoch})
			}
			ask()
		case s := <-answer:
			asking = false
			switch {
			case s.over:
				c.see(s)
				return
			case again: // something has happened since it was asked
				ask()
			default:
				c.see(s)
			}
		case <-look.C:
			if !c.State().Connected {
				ask()
			}
		case <-c.ctx.Done():
			if asking {
				<-answer
			}
			return
		}
	}
}

func (s *State) same(other *State) bool {
	return s.Connected == other.Connected && s.Server == other.Server && s.link == other.link && s.over == other.over &&
		s.epoch == other.epoch && fmt.Sprint(s.err) == fmt.Sprint(other.err)
}

// see takes note of what was seen, and tells who listens, if that is news.
func (c *Connection) see(s *State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	if s.link != c.Link.Load() || old != nil && old.same(s) {
		return
	}
	c.state.Store(s)
	c.tellLocked()
}

// tell tells who listens that there is something new to be seen.
func (c *Connection) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellLocked()
}

func (c *Connection) tellLocked() {
	for _, l := range c.listeners {
		select {
		case l.changes <- struct{}{}:
		default: // it has not looked yet
		}
	}
}

// A Listener hears of changes of a connection's state, whichever link it is on.
type Listener struct {
	c       *Connection
	changes chan struct{}
}

// Listen returns a listener, which is to be stopped. Look at the state after that.
func (c *Connection) Listen() *Listener {
	l := &Listener{c, make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners = append(c.listeners, l)
	return l
}

// Changes returns a channel that holds a token when the state has changed since the last was
// taken.
func (l *Listener) Changes() <-chan struct{} { return l.changes }

func (l *Listener) Stop() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.c.listeners = slices.DeleteFunc(l.c.listeners, func(other *Listener) bool { return other == l })
}
