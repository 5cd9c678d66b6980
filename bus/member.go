package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hybridtoken/hybridtoken/bus/internal/follow"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Member is one program's part in the bus: a connection to NATS, the publisher of the
// issuers that [Config].Issuers names, and what keeps [Config].List in step with the
// stream. It is safe for concurrent use.
//
// It never gives up while it is open: whatever fails is tried again, with jitter, at least
// every 5 s. When the connection stands and no heartbeats arrive for half of the List's
// MaxStaleness, it moves to another server, then reads the log from its start, then goes
// on moving, ever more rarely, but at least every 6 minutes (or MaxStaleness, where that
// is longer).
type Member struct {
	conn     *transport.Connection
	core     *core
	follower *follow.Follower // nil: no List

	closing sync.Once
}

// errNoList is what a Member without a List answers to who asks for its state.
var errNoList = errors.New("this Member has no List")

// Join connects to the servers and starts to follow the stream into [Config].List, which
// is then syncing; [Member.WaitFresh] waits until it is fresh. It never creates the stream
// ([CreateStream] does, or package bus/embedded) and does not need it to exist.
//
// A server that is down, a stream that is missing and rights that are missing are no
// errors: the Member waits for them, and [Member.Status] and the Logger say for what, so
// that a service may start before the bus. Join returns at once, and the connection is made
// in the background; with a Conn it takes one look at the stream, which ctx bounds. ctx has
// no influence afterwards. Errors are those that trying again cannot mend: a Config
// that contradicts itself or cannot be read, [revoke.ErrFollowed] if List is fed already
// or is Local, [revoke.ErrStateFile] if its state file is or gets in the way of the outbox,
// [ErrOutbox], [ErrClosed] for a Conn that is closed. With another List's state file the
// Member follows, and does not write it: see [revoke.List.StateFile].
//
// Unless [Config].NoHeartbeats is set, a Member with a List also sends heartbeats, from
// which others profit, whenever it has seen none for one to two of the List's
// HeartbeatIntervals.
//
// Until [Member.Close] a connection that Join made is dialled again for ever, whatever a
// server has said. Where the client library gives it up, as it does at errors of the
// server that it does not know, and after half a minute of refused credentials, a new one
// is made: Options are applied and files of credentials and certificates read anew, with
// pauses that grow to 30 s where servers refuse. A message that was under way at two such
// ends is taken for their cause; see [Publishing].Withheld. Handlers in Options are called
// for each of the library's connections, but that for a closed one only at Close.
func Join(ctx context.Context, cfg Config) (*Member, error) {
	m, err := join(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("bus: join: %w", err)
	}
	return m, nil
}

func join(ctx context.Context, cfg Config) (*Member, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch {
	case cfg.List == nil && len(cfg.Issuers) == 0:
		return nil, errors.New("neither List nor Issuers is set: this Member would neither follow nor publish")
	case cfg.List != nil && cfg.List.Config().TokenLifetime == 0:
		return nil, errors.New("field List was not made by revoke.NewList")
	}
	if cfg.List != nil { // before the outbox is opened, which writes it anew
		if state := cfg.List.Config().StateFile; collide(state, cfg.OutboxFile) {
			return nil, fmt.Errorf("field List: %w: %s would write over the outbox, %s", revoke.ErrStateFile, state, cfg.OutboxFile)
		}
	}
	b, err := newCore(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := connect(b.cfg)
	if err != nil {
		return nil, err
	}
	m := &Member{conn: conn, core: b}
	joined := false
	defer func() {
		if !joined { // also where code of the caller panics
			_ = m.Close()
		}
	}()
	if err := b.open(ctx, conn); err != nil {
		return nil, err
	}
	if cfg.List != nil {
		if m.follower, err = b.follow(cfg.List); err != nil {
			return nil, fmt.Errorf("field List: %w", err)
		}
	}
	joined = true
	return m, nil
}

// connect makes the connection that cfg describes, or takes that of the caller.
func connect(cfg Config) (*transport.Connection, error) {
	given := 0
	for _, is := range []bool{cfg.Servers != "", cfg.Conn != nil, cfg.InProcess != nil} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("exactly one of Servers, Conn and InProcess says where the servers are")
	case cfg.Conn == nil && cfg.Shared:
		return nil, errors.New("field Shared is set without Conn: a connection that Join makes is shared with nobody")
	case cfg.Conn == nil:
		return transport.Dial(transport.Config{
			Servers: cfg.Servers, InProcess: cfg.InProcess, CredentialsFile: cfg.CredentialsFile, TLS: cfg.TLS,
			InboxPrefix: cfg.InboxPrefix, Options: cfg.Options, Name: cfg.Name, Logger: cfg.Logger,
		})
	case cfg.CredentialsFile != "" || cfg.TLS != nil || cfg.InboxPrefix != "" || len(cfg.Options) > 0:
		return nil, errors.New("fields CredentialsFile, TLS, InboxPrefix and Options belong to a connection that Join makes, and Conn is set")
	}
	return transport.Use(cfg.Conn, cfg.Shared, cfg.Logger)
}

// Close ends the Member: its calls in flight, which fail with [ErrClosed], its background
// work and the connection, if Join made it. It has the List's state file written, if there
// is one, and waits for all of that. What the List knows stays known, but from now on
// nothing proves it current. Members and servers may be closed in any order. It may be
// called more than once.
func (m *Member) Close() error {
	m.closing.Do(func() {
		m.conn.GiveUp()
		if m.follower != nil {
			_ = m.follower.Close()
		}
		m.core.close()
		_ = m.conn.Close()
	})
	return nil
}

// Issuers returns [Config].Issuers, sorted: those for which this Member publishes.
func (m *Member) Issuers() []string { return slices.Clone(m.core.cfg.Issuers) }

// Publish revokes what e names. When it returns nil, the stream has acknowledged
// the event, and every check that begins more than MaxStaleness later obeys it or
// answers "cannot know".
//
// An acknowledgement counts only with a reading of the stream's settings that was begun at
// most 2 s before it came, and found the stream safe. So an event acknowledged later than
// 2 s after somebody has edited the stream to forget is refused, [ErrStreamUnsafe]; what
// was acknowledged in between is, with all else that this Member knows, published again as
// soon as the stream is mended.
//
// It fills in what is missing: Issuer if there is only one, a random ID, At, and Before and
// Until as [revoke.Event.Complete] does with the stream's retention: Before is twice the
// stream's MaxSkew ahead, so that no token survives that was issued until now, whatever
// clocks within MaxSkew say. What is issued next passes it by the [revoke.Receipt]: hand it to
// the issuer's request as After; sessions of package refresh pass it by themselves. It
// refuses events that replicas would ignore or cut back ([revoke.ErrInvalidEvent]), any
// issuer but the configured ones among them. It tries, under one message id, until ctx
// ends, or for 15 s if ctx has no deadline.
//
// Any error means that the revocation must be presumed not to have happened, and
// that the caller must publish again or tell someone. [ErrNotAcknowledged] leaves
// open whether it was stored; [ErrFull], [ErrNoStream] and [ErrStreamUnsafe] do not
// go away by themselves. Where [Config].OutboxFile has the event the error is also
// [ErrKept], and the Member goes on trying in the background, also after a restart;
// publishing again is as harmless as ever.
func (m *Member) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	return m.core.publisher.Publish(ctx, e)
}

// PublishAll publishes many events, several at a time and in no particular order,
// and returns one Result for each, in the order of events. It refuses all of them
// before anything is sent if one event is invalid. After the first failure
// it starts no more. It may fill the stream to 80 % only, so that single
// revocations still fit ([ErrFull]).
//
// Where the stream takes atomic batches (see [AllowBatches]) it sends up to 1,000 events as
// one, if that is faster than one by one, which it measures. A batch that is refused, or
// whose answer does not come, says nothing of any event: each is then published under
// its message id until it is known to be stored, or reported. The stream stores a batch whole
// or not at all, but a mirror may show half of one: it is no transaction for readers.
//
// The error is nil if and only if every event was acknowledged; otherwise it wraps
// the first failure. If ctx has no deadline each event has 15 s.
func (m *Member) PublishAll(ctx context.Context, events []revoke.Event) ([]Result, error) {
	list, err := m.core.publisher.PublishAll(ctx, events)
	results := make([]Result, len(list))
	for i, r := range list {
		results[i] = Result(r)
	}
	return results, err
}

// WaitFresh returns nil when the List is fresh. The error is in the families of
// ctx's and [revoke.ErrStale], or [ErrClosed]. Its text says why the List is not fresh:
// the reason, and the Err of [Member.Status].
func (m *Member) WaitFresh(ctx context.Context) error {
	if m.follower == nil {
		return fmt.Errorf("bus: wait until fresh: %w", errNoList)
	}
	return m.follower.WaitFresh(ctx)
}

// Barrier returns nil when every event that anybody's Publish had acknowledged
// before the call is applied to the List. It sends a heartbeat of its own at once
// and waits until it comes back through the stream; calls within 10 ms share one.
// With [Config].NoHeartbeats it has to wait until another member's heartbeat proves
// as much, a few intervals and MaxSkew later. Errors are those of
// [Member.WaitFresh].
func (m *Member) Barrier(ctx context.Context) error {
	if m.follower == nil {
		return fmt.Errorf("bus: barrier: %w", errNoList)
	}
	return m.follower.Barrier(ctx)
}
