package bus

import (
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// A seen is what a Member without a List last saw of its connection; immutable. The client
// library tells nobody anything while it dials, so that [Member.Status] cannot ask it.
type seen struct {
	server string // empty: not connected
	closed bool   // for good
}

// see keeps b.seen up to date until Close. It has looked once when it returns.
func (b *core) see() error {
	leave, err := b.Enter()
	if err != nil {
		return err
	}
	changes := b.Conn.Listen()
	b.seen.Store(b.look())
	go func() {
		defer leave()
		defer changes.Stop()
		defer b.seen.Store(&seen{closed: true})
		for {
			renewed := b.Conn.Renewed.Wait()
			changed := changes.Changes()
			b.seen.Store(b.look())
			select {
			case status := <-changed:
				if status != nats.CONNECTED { // before it is asked, which may take a while
					b.seen.Store(&seen{})
				}
			case <-renewed:
			case <-b.Context.Done():
				return
			}
		}
	}()
	return nil
}

// look asks the client library, and waits while that dials.
func (b *core) look() *seen {
	return &seen{transport.ServerOf(b.NATS()), b.Conn.Over()}
}
