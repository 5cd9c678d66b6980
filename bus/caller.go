package bus

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/publish"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A caller is a Member as package rollcall needs it.
type caller struct {
	t         *transport.Transport
	publisher *publish.Publisher

	once sync.Once
	kept any
}

func init() {
	bridge.Of = func(m any) bridge.Member { return &m.(*Member).core.caller }
}

// Publish implements [bridge.Member].
func (c *caller) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, func() bridge.Place, error) {
	return c.publisher.PublishPlaced(ctx, e)
}

// Call implements [bridge.Member].
func (c *caller) Call(ctx context.Context) (context.Context, func(), error) {
	return c.t.Call(ctx, 0)
}

// Kept implements [bridge.Member].
func (c *caller) Kept(first func() any) any {
	c.once.Do(func() { c.kept = first() })
	return c.kept
}

// NewInbox implements [bridge.Member].
func (c *caller) NewInbox() string { return c.t.Conn.NewInbox() }

// Listen implements [bridge.Member].
func (c *caller) Listen(inbox string, queue int, take func(*nats.Msg)) error {
	msgs := make(chan *nats.Msg, queue)
	deaf := func() {}
	on := c.t.Conn.Link.Load() // nil: there was no connection yet
	if on != nil {
		hears, err := on.Hear(inbox, msgs)
		switch {
		case err == nil:
			deaf = hears
		case errors.Is(err, nats.ErrConnectionClosed) && c.t.Conn.Dialled():
			on = nil // it has ended, and another comes
		default:
			return c.t.Conn.StreamError(err)
		}
	}
	leave, err := c.t.Enter()
	if err != nil {
		deaf()
		return err
	}
	go func() {
		defer leave()
		for {
			renewed := c.t.Conn.Renewed.Wait()
			if now := c.t.Conn.Link.Load(); now != on {
				if again, err := now.Hear(inbox, msgs); err == nil {
					deaf()
					on, deaf = now, again
				} // else that one has ended, too
			}
			select {
			case m := <-msgs:
				take(m)
			case <-renewed:
			case <-c.t.Context.Done():
				deaf()
				return
			}
		}
	}()
	return nil
}

// Send implements [bridge.Member].
func (c *caller) Send(m *nats.Msg) {
	if !c.t.Conn.IsConnected() {
		c.t.Log.Debug("bus: question not sent", "error", transport.ErrDisconnected)
		return
	}
	nc := c.t.NATS()
	if err := nc.PublishMsg(m); err != nil {
		c.t.Log.Debug("bus: question not sent", "error", err)
		return
	}
	transport.Echo(nc, m)
}

// Refusals implements [bridge.Member].
func (c *caller) Refusals(subject string) func() error {
	var before error
	if l := c.t.Conn.Link.Load(); l != nil {
		before = l.Conn.LastError()
	}
	return func() error { return c.t.Refused(before, subject) }
}
