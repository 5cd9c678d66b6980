package bus

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Config configures [Open].
type Config struct {
	// Issuer is the iss of the tokens that this Bus may revoke. Publish refuses
	// events of any other, because a trailing slash too many would revoke nothing,
	// silently. To revoke tokens of several issuers, such as one that others run, open a
	// Bus for each; they can share a Conn. Empty means that this Bus only follows.
	Issuer string

	// Stream is the name of the stream. Empty means [DefaultStream].
	Stream string

	// Name tells this member from others in heartbeats; at most 128 bytes. Empty
	// means the host's name.
	Name string

	// NoHeartbeats keeps this member from publishing heartbeats, for connections
	// that may not. Someone else must then, or nobody is ever fresh.
	NoHeartbeats bool

	// NoAnnouncements keeps followers from answering [Bus.RevokeAndWait], which then
	// does not wait for them. See [AppliedSubject] for the rights that answering takes.
	NoAnnouncements bool

	// Signer signs the events of the mass kinds (subject, client, tenant, key, issuer)
	// that this Bus publishes, for followers with a Trust. It holds an Ed25519 key, in
	// memory (an [ed25519.PrivateKey]) or in a KMS; each event is signed once, however
	// often it is sent, within the time that the call has. It keeps the key that it has
	// when the Bus is opened; one that exchanges it, panics or hangs fails the call. Nil:
	// they are not signed.
	Signer crypto.Signer

	// Trust holds the public keys whose signatures count. With it, followers of this Bus
	// ignore and count ([revoke.FaultUnsigned]) events of the mass kinds that none of
	// them has signed, and heed critical marks only where one has: who may merely
	// publish can revoke tokens and sessions, whose ids nobody guesses, and nothing else.
	// To exchange a key, add the new one everywhere, then exchange the Signer, and
	// remove the old key when what it signed has expired. Nil: none need be signed.
	// Empty is refused; at most 16 keys.
	Trust []ed25519.PublicKey

	// OutboxFile names a file in which a publisher keeps its events until they expire: those
	// that are not acknowledged yet are on the disk before they are first sent, and are
	// published in the background, also after a restart, until they are; those that are
	// acknowledged are published again if the stream has lost them, also if it lost them
	// while this process was down. It costs Publish one writing to the disk; events that
	// are published at the same time share it. (BenchmarkPublish, on a shared machine: 0.9 ms
	// for one publisher, whose events took 1.3 ms without, to a stream synced on the same
	// disk; 0.1 ms an event for 64, which showed beside a stream in memory and no longer
	// beside one on the disk.) An event that could not be published yet and is in the file
	// is told by [ErrKept], also one that is published before this Bus has ever seen the
	// stream: what it leaves out of Until, the stream's horizons say when it is sent. Mode 0600, bounded as what is kept in memory; it holds what events name (jti, sid, sub) and no secret. Each Bus needs its own,
	// in a directory where nobody else may write; what is in it and was signed by no key of
	// Signer's or Trust is published as it stands, never signed. What goes wrong with it is logged and
	// counted ([Stats].OutboxFailures), and keeps nothing from being published: a disk that
	// fails, also while it is opened, is tried again. A file that is damaged is kept beside
	// the new one ([Stats].OutboxSetAside); what checks out of it is published again. Open
	// refuses what is no outbox of this Bus ([ErrOutbox]). Empty: a restart forgets.
	OutboxFile string

	// Logger receives warnings about the stream, losses and changes of state. Nil
	// means silent.
	Logger *slog.Logger
}

// A Bus publishes revocation events to one stream and follows it. It is safe for
// concurrent use.
type Bus struct {
	conn   *Conn
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
}

// Open makes a Bus over conn. It never creates the stream and does not need it to
// exist: followers wait for it, and Publish fails with [ErrNoStream] meanwhile. ctx
// bounds one look at the stream, for warnings; Open does not fail because of it.
func Open(ctx context.Context, conn *Conn, cfg Config) (*Bus, error) {
	if conn == nil || conn.link.Load() == nil {
		return nil, errors.New("bus: open: no Conn of Dial's or Use's")
	}
	if conn.over() {
		return nil, fmt.Errorf("bus: open: connection %w", ErrClosed)
	}
	if cfg.Issuer != "" {
		if err := revoke.CheckIdentifier("Issuer", cfg.Issuer); err != nil {
			return nil, fmt.Errorf("bus: open: %w", err)
		}
	}
	if cfg.Stream == "" {
		cfg.Stream = DefaultStream
	}
	if err := checkStreamName(cfg.Stream); err != nil {
		return nil, fmt.Errorf("bus: open: Stream: %w", err)
	}
	if cfg.Name == "" {
		if host, err := os.Hostname(); err == nil && len(host) <= maxNameBytes {
			cfg.Name = host
		}
	}
	if _, err := encodeHeartbeat(revoke.Heartbeat{Name: cfg.Name}); err != nil {
		return nil, fmt.Errorf("bus: open: Name: %w", err)
	}
	signer, err := newSigner(cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("bus: open: Signer: %w", err)
	}
	trust, err := newTrust(cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("bus: open: Trust: %w", err)
	}
	if signer != nil && trust != nil && trust[keyNumberOf(signer.public)] == nil {
		return nil, errors.New("bus: open: Trust does not hold the Signer's key: this Bus would ignore its own events")
	}
	ctx, release := context.WithCancel(ctx) // panics for nil, before anything is begun that Close would have to end
	defer release()
	b := &Bus{conn: conn, cfg: cfg, stream: cfg.Stream, log: logger(cfg.Logger), signer: signer, trust: trust}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.publisher.b = b
	b.asker.b = b
	if cfg.OutboxFile != "" {
		if cfg.Issuer == "" {
			return nil, errors.New("bus: open: OutboxFile is set and Issuer is empty: this Bus publishes nothing")
		}
		if err := b.publisher.unpack(cfg.OutboxFile); err != nil {
			return nil, fmt.Errorf("bus: open: OutboxFile: %w", err)
		}
	}
	if cfg.Issuer != "" && conn.Connected() {
		ctx, cancel := context.WithTimeout(ctx, infoTimeout)
		defer cancel()
		if _, err := b.publisher.read(ctx); err != nil {
			b.log.Warn("bus: publishing will fail until this is mended", "error", err)
		}
	}
	return b, nil
}

// Issuer returns [Config].Issuer, for which this Bus publishes. Empty: it only follows.
func (b *Bus) Issuer() string { return b.cfg.Issuer }

// Close ends the Bus: its followers, its calls in flight, which fail with
// [ErrClosed], and its background work, and waits for all of them. It does not
// close the [Conn]. It may be called more than once.
//
// Followers, Bus, Conn and an embedded server may be closed in any order; in this
// one nothing is logged as lost.
func (b *Bus) Close() error {
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
func (b *Bus) enter() (leave func(), err error) {
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
func (b *Bus) info(ctx context.Context) (revoke.LogInfo, []string, error) {
	s, err := b.readStream(ctx)
	if err != nil {
		return revoke.LogInfo{}, nil, err
	}
	return revoke.LogInfo{Horizons: s.horizons, LastSequence: s.last, Time: s.now, Mirror: s.mirror}, s.unsafe, nil
}
