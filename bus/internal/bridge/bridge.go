// Package bridge carries what a roll call needs of a bus.Member from package bus to package
// rollcall, and shows it to nobody else.
package bridge

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Of returns what a *bus.Member has for roll calls. Package bus sets it. This package cannot
// name the type, since package bus imports it.
var Of func(member any) Member

// A Member is what a roll call needs of a bus.Member.
type Member interface {
	// Publish is [bus.Member.Publish]. The function that it returns besides tells where the
	// event stands in the stream at the moment.
	Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, func() Place, error)

	// Call admits a call, which must call the function returned when it ends. The context
	// also ends when the Member is closed.
	Call(ctx context.Context) (context.Context, func(), error)

	// Kept returns the value that the Member keeps for package rollcall, which is what the
	// first call's function returned.
	Kept(first func() any) any

	// NewInbox returns a subject that nobody else in the account uses.
	NewInbox() string

	// Listen has take called, by one goroutine, with each message to a subject one level
	// below inbox, until the Member is closed, over whichever connection it has. As many as
	// queue wait for take; more are lost.
	Listen(inbox string, queue int, take func(*nats.Msg)) error

	// Send publishes m to who listens, in this process too. It waits for no answer.
	Send(m *nats.Msg)

	// Refusals returns a function that returns the server's word, if it has come since, that
	// the connection may not publish on subject.
	Refusals(subject string) func() error
}

// A Place is where an event stands in the stream.
type Place struct {
	Sequence uint64
	Digest   [32]byte // of its subject and payload, see [wire.RecordDigest]
	Lost     bool     // the stream has lost it, and it was not acknowledged again yet
}
