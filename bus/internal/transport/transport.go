package transport

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// A Transport is what the halves of a [Member] share: the connection, the stream, and the
// life that ends with Close.
type Transport struct {
	Conn       *Connection
	StreamName string
	Log        *slog.Logger

	// Context ends when Close begins; everything in the background, and every call in
	// flight, hangs on it and is waited for.
	Context context.Context
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed, and wg.Add against wg.Wait
	closed  bool
	wg      sync.WaitGroup

	fixed   stream.Fixed // what the stream's metadata may not take back
	filling atomic.Bool  // that the stream is getting full was reported
}

// New returns one that has no connection yet.
func New(stream string, log *slog.Logger) *Transport {
	t := &Transport{StreamName: stream, Log: log}
	t.Context, t.cancel = context.WithCancel(context.Background())
	return t
}

// Close ends the calls in flight, which fail with [ErrClosed], and the background work, and
// waits for all of them. It does not close the connection. It may be called more than once.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.wg.Wait()
}

// Enter admits one call or one goroutine of the background, which must call the
// function returned when it ends. Its context is to be cancelled when t.Context is.
func (t *Transport) Enter() (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fmt.Errorf("bus: %w", ErrClosed)
	}
	t.wg.Add(1)
	return t.wg.Done, nil
}

// Call admits a call and returns its context, which also ends when the Member is
// closed. A timeout of zero adds none.
func (t *Transport) Call(ctx context.Context, timeout time.Duration) (context.Context, func(), error) {
	ctx, cancel := context.WithCancelCause(ctx) // before entering: it panics for nil, and Close would wait for ever
	leave, err := t.Enter()
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	stop := context.AfterFunc(t.Context, func() { cancel(ErrClosed) })
	release := context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, release = WithDefaultTimeout(ctx, timeout)
	}
	return ctx, func() {
		release()
		stop()
		cancel(nil)
		leave()
	}, nil
}

// InfoTimeout bounds one request for the stream's state. A server answers in
// milliseconds; a cluster in election does not answer at all.
const InfoTimeout = 2 * time.Second

// Info asks the server for what a subscription needs to know of the stream. The
// strings are reasons why the stream could forget events; a follower reports them.
// The error is of the family [ErrNoStream] if the stream does not exist.
func (t *Transport) Info(ctx context.Context) (replica.LogInfo, []string, error) {
	s, err := t.ReadStream(ctx)
	if err != nil {
		return replica.LogInfo{}, nil, err
	}
	return replica.LogInfo{Retention: s.Retention, LastSequence: s.Last, Time: s.Now, Mirror: s.Mirror}, s.Unsafe, nil
}

// Refused returns the server's word that the connection may not publish on subject,
// unless it is older than before, the connection's last error when that was tried.
func (t *Transport) Refused(before error, subject string) error {
	return t.Conn.refused(before, subject)
}
