package bus

import (
	"errors"

	"github.com/hybridtoken/hybridtoken/bus/internal/publish"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

var (
	// ErrNotAcknowledged means that the stream did not confirm the event in time. It
	// may or may not be stored: the caller must publish it again, which is harmless.
	ErrNotAcknowledged = publish.ErrNotAcknowledged

	// ErrKept means that the event is on the disk, in [Config].OutboxFile: this Member, and
	// the next one that opens the file, go on publishing it until the stream has it or it
	// has expired. It comes beside the error that says why it was not published yet, such
	// as [ErrNotAcknowledged]. An error without it means that nobody goes on past a restart.
	ErrKept = publish.ErrKept

	// ErrFull means that the stream has no room left for this kind of event. Nothing
	// was stored.
	ErrFull = publish.ErrFull

	// ErrNoStream means that the stream does not exist. [CreateStream] makes it, once,
	// or bus/embedded does.
	ErrNoStream = transport.ErrNoStream

	// ErrStreamUnsafe means that the stream would forget revocations, or cannot say
	// for how long to keep them. The error lists what is wrong with it.
	ErrStreamUnsafe = publish.ErrStreamUnsafe

	// ErrStreamExists is returned by [CreateStream] for a stream that exists with
	// another configuration. The error lists the differences.
	ErrStreamExists = errors.New("stream exists with another configuration")

	// ErrClosed means that the Member or its connection was closed.
	ErrClosed = transport.ErrClosed

	// ErrOutbox is the family of errors for an outbox file that is not ours to use: another
	// process's, another issuer's, of a version to come, no outbox at all, or open to others. A
	// file that is damaged and a disk that fails are none: see [Config].OutboxFile.
	ErrOutbox = publish.ErrOutbox
)
