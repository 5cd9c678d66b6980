package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// DefaultStream is "REVOCATIONS", the name of the stream where none is configured.
const DefaultStream = stream.DefaultName

// StreamConfig configures [CreateStream]. The zero StreamConfig suits a production
// cluster of three servers.
type StreamConfig struct {
	// Name of the stream. Empty means [DefaultStream].
	Name string

	// Replicas is the number of servers that hold the stream, 1 to 5. With fewer than
	// three an acknowledged revocation can be lost with one disk. Zero means 3; a
	// single server takes only 1.
	Replicas int

	// MaxBytes bounds the stream's size; count 500 bytes for each live revocation, headers
	// included: one of a UUID with a reason and an actor takes up to 490, a signed one 620,
	// and each session in Keep its length and 3 more; what PublishAll sends in batches takes 52
	// more. Single revocations may fill 90 % of it, PublishAll 80 %: the default is room for
	// 1.9 million. When it is reached, publishing fails; nothing is ever dropped to make room.
	// At least 16 MiB; zero means 1 GiB. The server reserves it.
	MaxBytes int64

	// InsecureMemory keeps the stream in memory. After a restart of all servers every
	// service that restarts too lets in again everybody who was revoked.
	InsecureMemory bool

	// Retention is fixed for the stream's life: TokenLifetime is the longest exp − iat
	// of any access token, SessionLifetime the longest that a session can go on minting
	// tokens, MaxSkew how far clocks may differ: that of every List, at least 3 ×
	// HeartbeatInterval below its MaxStaleness, and at least 1 s where verifiers accept
	// tokens of other people's issuers. Zero means one hour, 90 days and 2 s. Lifetimes
	// are at least 1 s and at most ten years, MaxSkew at least 1 ms and at most two minutes.
	Retention revoke.Retention
}

// CreateStream makes the stream, as the operator's tool or an embedded server
// does once. It succeeds if the stream exists exactly as it would have made it, and
// otherwise fails with [ErrStreamExists] and the list of differences: it never
// changes a stream, because a shorter retention or a new limit would un-revoke. The stream
// takes atomic batches where the servers know them; that an existing one does not is no
// difference, see [AllowBatches].
//
// The connection needs the rights to read and create streams. In production, run
// servers with sync_interval: always; a client cannot see whether they do. Servers
// that are electing are asked again until ctx ends; if it has no deadline, for 15 s.
func CreateStream(ctx context.Context, nc *nats.Conn, cfg StreamConfig) error {
	if nc == nil {
		return errors.New("bus: create stream: the connection is nil")
	}
	conn, err := transport.Ask(nc)
	if err != nil {
		return fmt.Errorf("bus: create stream: %w", err)
	}
	want, err := stream.Settings(cfg).Resolve()
	if err != nil {
		return fmt.Errorf("bus: create stream: %w", err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, transport.DefaultTimeout)
		defer cancel()
	}
	have, err := jsadmin.Create(ctx, want, conn.AskAgain)
	if jsadmin.IsCode(err, jsadmin.CodeInvalidJSON) { // strict, and of a version that knows no batches
		want.AllowAtomicPublish = false
		have, err = jsadmin.Create(ctx, want, conn.AskAgain)
	}
	if err != nil {
		return fmt.Errorf("bus: create stream %s: %w", want.Name, conn.StreamError(err))
	}
	if diff := stream.Differences(have, want); len(diff) > 0 {
		return fmt.Errorf("bus: create stream %s: %w: %s", want.Name, ErrStreamExists, strings.Join(diff, "; "))
	}
	return nil
}

// AllowBatches has an existing stream take atomic batches, by which [Member.PublishAll] is
// faster, many times where the server writes each message to its disk. It changes nothing
// else, and does nothing where they are allowed already. An empty stream means
// [DefaultStream].
//
// Servers below 2.12 know no batches, which is an error. A server that has loaded a stream with
// batches cannot go back below 2.12: that one leaves the stream aside until it is upgraded
// again. The connection needs the rights to read and update the stream; the time that ctx
// gives is as with CreateStream. Nobody else may edit the stream meanwhile: the server knows no
// way to refuse the one of two edits that has not seen the other.
func AllowBatches(ctx context.Context, nc *nats.Conn, stream string) error {
	if nc == nil {
		return errors.New("bus: allow batches: the connection is nil")
	}
	if stream == "" {
		stream = DefaultStream
	}
	if err := jsadmin.CheckName(stream); err != nil {
		return fmt.Errorf("bus: allow batches: stream name: %w", err)
	}
	conn, err := transport.Ask(nc)
	if err != nil {
		return fmt.Errorf("bus: allow batches: %w", err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, transport.DefaultTimeout)
		defer cancel()
	}
	if err := jsadmin.AllowBatches(ctx, stream, conn.AskAgain); err != nil {
		return fmt.Errorf("bus: allow batches: stream %s: %w", stream, conn.StreamError(err))
	}
	return nil
}
