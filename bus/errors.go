package bus

import "errors"

var (
	// ErrNotAcknowledged means that the stream did not confirm the event in time. It
	// may or may not be stored: the caller must publish it again, which is harmless.
	ErrNotAcknowledged = errors.New("revocation not acknowledged")

	// ErrKept means that the event is on the disk, in [Config].OutboxFile: this Member, and
	// the next one that opens the file, go on publishing it until the stream has it or it
	// has expired. It comes beside the error that says why it was not published yet, such
	// as [ErrNotAcknowledged]. An error without it means that nobody goes on past a restart.
	ErrKept = errors.New("kept in the outbox")

	// ErrFull means that the stream has no room left for this kind of event. Nothing
	// was stored.
	ErrFull = errors.New("stream full")

	// ErrNoStream means that the stream does not exist. [CreateStream] makes it, once,
	// or bus/embedded does.
	ErrNoStream = errors.New("no such stream (bus.CreateStream makes it, once; a mirror is the operator's to make)")

	// ErrStreamUnsafe means that the stream would forget revocations, or cannot say
	// for how long to keep them. The error lists what is wrong with it.
	ErrStreamUnsafe = errors.New("stream unsafe")

	// ErrStreamExists is returned by [CreateStream] for a stream that exists with
	// another configuration. The error lists the differences.
	ErrStreamExists = errors.New("stream exists with another configuration")

	// ErrClosed means that the Member or its connection was closed.
	ErrClosed = errors.New("closed")
)
