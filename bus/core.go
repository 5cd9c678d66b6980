package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/hybridtoken/hybridtoken/bus/internal/follow"
	"github.com/hybridtoken/hybridtoken/bus/internal/publish"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A core is a [Member] but for what follows.
type core struct {
	*transport.Transport
	cfg       Config // with defaults resolved
	signer    *wire.Signer
	trust     wire.Trust
	publisher *publish.Publisher
	caller    caller // for package rollcall
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
		if host, err := os.Hostname(); err == nil && len(host) <= wire.MaxNameBytes {
			cfg.Name = host
		}
	}
	if _, err := wire.EncodeHeartbeat(replica.Heartbeat{Name: cfg.Name}); err != nil {
		return nil, fmt.Errorf("field Name: %w", err)
	}
	signer, err := wire.NewSigner(cfg.Signer)
	if err != nil {
		return nil, fmt.Errorf("field Signer: %w", err)
	}
	trust, err := wire.NewTrust(cfg.Trust)
	if err != nil {
		return nil, fmt.Errorf("field Trust: %w", err)
	}
	if signer != nil && trust != nil && !trust.Holds(signer) {
		return nil, errors.New("field Trust does not hold the Signer's key: this Member would ignore its own events")
	}
	b := &core{Transport: transport.New(cfg.Stream, transport.Logger(cfg.Logger)), cfg: cfg, signer: signer, trust: trust}
	b.publisher = publish.New(b.Transport, cfg.Issuers, signer, trust)
	b.caller.t, b.caller.publisher = b.Transport, b.publisher
	return b, nil
}

// open gives the core its connection; ctx bounds a look at the stream.
func (b *core) open(ctx context.Context, conn *transport.Connection) error {
	b.Conn = conn
	return b.publisher.Open(ctx, b.cfg.OutboxFile)
}

// follow starts to follow the stream into the list and returns at once.
func (b *core) follow(list *revoke.List) (*follow.Follower, error) {
	f, err := follow.Start(b.Transport, list, b.followConfig())
	if err == nil {
		b.publisher.StartWatch()
	}
	return f, err
}

func (b *core) followConfig() follow.Config {
	return follow.Config{
		Name: b.cfg.Name, NoHeartbeats: b.cfg.NoHeartbeats, NoAnnouncements: b.cfg.NoAnnouncements,
		Signer: b.signer, Trust: b.trust, Suspect: b.publisher.Suspect,
	}
}

// maxIssuers bounds the issuers of one Member.
const maxIssuers = 256

// close ends the transport, and then what only that had use for.
func (b *core) close() {
	b.Transport.Close()
	b.publisher.Close()
}
