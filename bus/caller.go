package bus

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A caller is a Member as package rollcall needs it.
type caller struct {
	t         *transport
	publisher *publisher

	once sync.Once
	kept any
}

func init() {
	bridge.Of = func(m any) bridge.Member { return &m.(*Member).core.caller }
}

// Publish implements [bridge.Member].
func (c *caller) Publish(ctx context.Context, e revoke.Event) (Receipt, func() bridge.Place, error) {
	r, rec, err := c.publisher.publish(ctx, e)
	if err != nil {
		return Receipt{}, nil, err
	}
	return r, func() bridge.Place {
		seq, payload, lost := c.publisher.ledger.place(rec)
		return bridge.Place{Sequence: seq, Digest: wire.RecordDigest(rec.subject, payload), Lost: lost}
	}, nil
}

// Call implements [bridge.Member].
func (c *caller) Call(ctx context.Context) (context.Context, func(), error) {
	return c.t.call(ctx, 0)
}

// Kept implements [bridge.Member].
func (c *caller) Kept(first func() any) any {
	c.once.Do(func() { c.kept = first() })
	return c.kept
}

// NewInbox implements [bridge.Member].
func (c *caller) NewInbox() string { return c.t.nc().NewInbox() }

// Listen implements [bridge.Member].
func (c *caller) Listen(inbox string, queue int, take func(*nats.Msg)) error {
	msgs := make(chan *nats.Msg, queue)
	on := c.t.conn.link.Load()
	deaf, err := on.hear(inbox, msgs)
	if err != nil {
		return c.t.conn.streamError(err)
	}
	leave, err := c.t.enter()
	if err != nil {
		deaf()
		return err
	}
	go func() {
		defer leave()
		for {
			renewed := c.t.conn.renewed.wait()
			if now := c.t.conn.link.Load(); now != on {
				if again, err := now.hear(inbox, msgs); err == nil {
					deaf()
					on, deaf = now, again
				} // else that one has ended, too
			}
			select {
			case m := <-msgs:
				take(m)
			case <-renewed:
			case <-c.t.ctx.Done():
				deaf()
				return
			}
		}
	}()
	return nil
}

// hear has what is sent to the inbox come over that link until deaf is called.
func (l *link) hear(inbox string, msgs chan *nats.Msg) (deaf func(), err error) {
	sub, err := l.nc.ChanSubscribe(inbox+".*", msgs)
	if err != nil {
		return nil, err
	}
	silence := listenForEchoes(l.nc, inbox+".", func(m *nats.Msg) {
		select {
		case msgs <- m:
		default: // more are lost
		}
	})
	return func() {
		silence()
		_ = sub.Unsubscribe() // fails only if it is over already
	}, nil
}

// Send implements [bridge.Member].
func (c *caller) Send(m *nats.Msg) {
	nc := c.t.nc()
	if err := nc.PublishMsg(m); err != nil {
		c.t.log.Debug("bus: question not sent", "error", err)
		return
	}
	echo(nc, m)
}

// Refusals implements [bridge.Member].
func (c *caller) Refusals(subject string) func() error {
	before := c.t.nc().LastError()
	return func() error { return c.t.refused(before, subject) }
}
