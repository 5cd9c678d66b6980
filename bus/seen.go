package bus

import "github.com/nats-io/nats.go"

// A seen is what a Member without a List last saw of its connection; immutable. The client
// library tells nobody anything while it dials, so that [Member.Status] cannot ask it.
type seen struct {
	server string // empty: not connected
	closed bool   // for good
}

// see keeps b.seen up to date until Close. It has looked once when it returns.
func (b *core) see() error {
	leave, err := b.enter()
	if err != nil {
		return err
	}
	changes := b.conn.listen()
	b.seen.Store(b.look())
	go func() {
		defer leave()
		defer changes.stop()
		defer b.seen.Store(&seen{closed: true})
		for {
			renewed := b.conn.renewed.wait()
			changed := changes.changes()
			b.seen.Store(b.look())
			select {
			case status := <-changed:
				if status != nats.CONNECTED { // before it is asked, which may take a while
					b.seen.Store(&seen{})
				}
			case <-renewed:
			case <-b.ctx.Done():
				return
			}
		}
	}()
	return nil
}

// look asks the client library, and waits while that dials.
func (b *core) look() *seen {
	return &seen{serverOf(b.nc()), b.conn.over()}
}
