package transport

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

func (t *Transport) ReadStream(ctx context.Context) (stream.State, error) {
	if !t.Conn.Over() && !t.Conn.IsConnected() {
		return stream.State{}, fmt.Errorf("bus: read stream %s: %w", t.StreamName, t.Conn.Disconnected())
	}
	l := t.Conn.Link.Load()
	s, err := Attempt(ctx, l, InfoTimeout, func(ctx context.Context) (jetstream.Stream, error) {
		return l.JetStream.Stream(ctx, t.StreamName)
	})
	if err != nil {
		return stream.State{}, fmt.Errorf("bus: read stream %s: %w", t.StreamName, t.Conn.StreamError(err))
	}
	st := stream.StateOf(s.CachedInfo(), &t.fixed)
	t.warnFill(st)
	return st, nil
}

// warnPercent is how full a stream is of which a warning is logged.
const warnPercent = 80

// warnFill logs once that the stream is getting full, until it is less so. Messages
// expire by themselves; those of a flood perhaps never do.
func (t *Transport) warnFill(st stream.State) {
	switch limit := uint64(max(st.MaxBytes, 0)) / 100; {
	case st.MaxBytes <= 0, st.Bytes < limit*(warnPercent-5):
		t.filling.Store(false)
	case st.Bytes >= limit*warnPercent && !t.filling.Swap(true):
		t.Log.Warn("bus: the stream is nearly full; soon revocations will be refused, and then heartbeats",
			"stream", t.StreamName, "bytes", st.Bytes, "max_bytes", st.MaxBytes)
	}
}

// StreamError puts an error of the client library into the families of this package. The
// end of a link is not that of the connection.
func (c *Connection) StreamError(err error) error {
	switch {
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamNotFound):
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	case errors.Is(err, nats.ErrConnectionClosed) && c.Dialled():
		return c.Disconnected()
	case errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}
