package publish

import "errors"

// The families of errors that users see under these names in package bus, which says what
// they mean.
var (
	ErrNotAcknowledged = errors.New("revocation not acknowledged")
	ErrKept            = errors.New("kept in the outbox")
	ErrFull            = errors.New("stream full")
	ErrStreamUnsafe    = errors.New("stream unsafe")
	ErrOutbox          = errors.New("outbox not usable")
)
