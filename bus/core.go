package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// A core is what the halves of a [Member] share: the connection, the stream and its end.
type core struct {
	conn   *connection
	cfg    Config // with defaults resolved
	stream string
	log    *slog.Logger

	// ctx ends when Close begins; everything in the background, and every call in
	// flight, hangs on it and is waited for.
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed, and wg.Add against wg.Wait
	closed bool
	wg     sync.WaitGroup

	signer *signer // nil: does not sign
	trust  trust   // nil: demands no signatures

	fixed     fixed // what the stream's metadata may not take back
	publisher publisher
	asker     asker
	watching  sync.Once
	filling   atomic.Bool // that the stream is getting full was reported

	seen atomic.Pointer[seen] // of the connection, where no follower reports it
}

// newCore looks at cfg and makes the core of a Member of it, which is not open yet.
func newCore(cfg Config) (*core, error) {
	cfg.Issuers = slices.Clone(cfg.Issuers)
	slices.Sort(cfg.Issuers)
	for i, iss := range cfg.Issuers {
		if err := replica.CheckIdentifier("Issuers", iss); err != nil {
			return nil, err
		}
		if i > 0 && iss == cfg.Issuers[i-1] {
			return nil, fmt.Errorf("field Issuers names %q twice", iss)
		}
	}
	if len(cfg.Issuers) > maxIssuers {
		return nil, fmt.Errorf("field Issuers names %d, more than %d", len(cfg.Issuers), maxIssuers)
	}
	if len(cfg.Issuers) == 0 && cfg.OutboxFile != "" {
		return nil, errors.New("field OutboxFile is set and Issuers is empty: this Member publishes nothing")
	}
	if cfg.Stream == "" {
		cfg.Stream = DefaultStream
	}
	if err := jsadmin.CheckName(cfg.Stream); err != nil {
		return nil, fmt.Errorf("field Stream: %w", err)
	}
	if cfg.Name == "" {
		if host, err := os.Hostname(); err == nil && len(host) <= maxNameBytes {
			cfg.Name = host
		}
	}
	if _, err := encodeHeartbeat(replica.Heartbeat{Name: cfg.Name}); err != nil {
		return nil, fmt.Errorf("field Name: %w", err)
	}
	signer, err := newSigner(cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("field Signer: %w", err)
	}
	trust, err := newTrust(cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("field Trust: %w", err)
	}
	if signer != nil && trust != nil && trust[keyNumberOf(signer.public)] == nil {
		return nil, errors.New("field Trust does not hold the Signer's key: this Member would ignore its own events")
	}
	b := &core{cfg: cfg, stream: cfg.Stream, log: logger(cfg.Logger), signer: signer, trust: trust}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.publisher.b = b
	b.asker.b = b
	return b, nil
}

// open opens the outbox and takes one look at the stream, which ctx bounds, for warnings:
// what it finds is no error.
func (b *core) open(ctx context.Context, conn *connection) error {
	b.conn = conn
	if b.cfg.OutboxFile != "" {
		if err := b.publisher.unpack(b.cfg.OutboxFile); err != nil {
			return fmt.Errorf("field OutboxFile: %w", err)
		}
	}
	if len(b.cfg.Issuers) > 0 && conn.isConnected() {
		ctx, cancel := context.WithTimeout(ctx, infoTimeout)
		defer cancel()
		if _, err := b.publisher.read(ctx); err != nil {
			b.log.Warn("bus: publishing will fail until this is mended", "error", err)
		}
	}
	return nil
}

// maxIssuers bounds the issuers of one Member.
const maxIssuers = 256

// Close ends the followers, the calls in flight, which fail with [ErrClosed], and the
// background work, and waits for all of them. It does not close the connection. It may
// be called more than once.
func (b *core) close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
	if o := b.publisher.outbox; o != nil {
		o.close()
	}
	return nil
}

// enter admits one call or one goroutine of the background, which must call the
// function returned when it ends. Its context is to be cancelled when b.ctx is.
func (b *core) enter() (leave func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("bus: %w", ErrClosed)
	}
	b.wg.Add(1)
	return b.wg.Done, nil
}

// infoTimeout bounds one request for the stream's state. A server answers in
// milliseconds; a cluster in election does not answer at all.
const infoTimeout = 2 * time.Second

// info asks the server for what a subscription needs to know of the stream. The
// strings are reasons why the stream could forget events; a follower reports them.
// The error is of the family [ErrNoStream] if the stream does not exist.
func (b *core) info(ctx context.Context) (replica.LogInfo, []string, error) {
	s, err := b.readStream(ctx)
	if err != nil {
		return replica.LogInfo{}, nil, err
	}
	return replica.LogInfo{Retention: s.retention, LastSequence: s.last, Time: s.now, Mirror: s.mirror}, s.unsafe, nil
}
