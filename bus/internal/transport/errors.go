package transport

import "errors"

// The families of errors that users see under these names in package bus, which says what they mean.
var (
	ErrNoStream = errors.New("no such stream (bus.CreateStream makes it, once; a mirror is the operator's to make)")
	ErrClosed   = errors.New("closed")
)

var (
	ErrNotPermitted = errors.New("the server does not let this connection publish")
	ErrDisconnected = errors.New("bus: not connected")
)
