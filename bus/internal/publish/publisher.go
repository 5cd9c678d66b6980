package publish

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Publisher brings records into the stream and knows what it brought.
type Publisher struct {
	t       *transport.Transport
	issuers []string     // for which it publishes, sorted; empty: for none
	signer  *wire.Signer // nil: does not sign
	trust   wire.Trust   // what its replicas demand; nil: no signatures

	watching sync.Once

	gauge  gauge
	ledger ledger
	clock  serverClock
	pace   pace
	outbox *outbox // nil: none
}

// New returns one that publishes over t events of those issuers, for which replicas
// demand the signatures of that trust. It is to be opened first, and closed after t.
func New(t *transport.Transport, issuers []string, s *wire.Signer, demanded wire.Trust) *Publisher {
	return &Publisher{t: t, issuers: issuers, signer: s, trust: demanded}
}

// Open opens the outbox, unless its name is empty, and takes one look at the stream, for
// warnings: what it finds is no error. Where there is no connection yet it looks in the
// background, once there is one; else ctx bounds the look.
func (p *Publisher) Open(ctx context.Context, outbox string) error {
	if outbox != "" {
		if err := p.unpack(outbox); err != nil {
			return fmt.Errorf("field OutboxFile: %w", err)
		}
	}
	if len(p.issuers) == 0 {
		return nil
	}
	if p.t.Conn.IsConnected() {
		p.look(ctx)
		return nil
	}
	leave, err := p.t.Enter()
	if err != nil {
		return err
	}
	go func() {
		defer leave()
		if p.t.Conn.Await(p.t.Context) == nil {
			p.look(p.t.Context)
		}
	}()
	return nil
}

// look reads the stream's state, for warnings.
func (p *Publisher) look(ctx context.Context) {
	if _, err := p.facts(ctx, 0); err != nil && p.t.Context.Err() == nil {
		p.t.Log.Warn("bus: publishing will fail until this is mended", "error", err)
	}
}

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = time.Second
)

// prepare completes e by the stream's retention, for which it may have to wait. With an
// outbox it does not wait: an event that is completed before the stream was ever seen, as
// after a restart without a server, is kept as long as any may live, until completeEarly knows better.
func (p *Publisher) prepare(ctx context.Context, valid replica.Valid, limit int) (revoke.Event, *record, error) {
	ctx, cancel := transport.WithDefaultTimeout(ctx, transport.DefaultTimeout)
	defer cancel()
	e := valid.Event()
	// The longest that there can be.
	retention := revoke.Retention{TokenLifetime: revoke.MaxLifetime, SessionLifetime: revoke.MaxLifetime, MaxSkew: revoke.MaxSkewLimit}
	if e.Kind != revoke.KindToken {
		retention.TokenLifetime = 0 // whether Until falls short of it cannot be told yet: completeEarly raises it
	}
	open := p.outbox != nil && !p.gauge.isKnown()
	if !open {
		st, err := p.ready(ctx)
		if err != nil {
			return e, nil, err
		}
		retention = st.Largest
	}
	asked := e
	e, err := valid.Complete(time.Now(), retention)
	if err != nil {
		return e, nil, err
	}
	// Only these two say all there is to say without retention.
	given := e.Kind == revoke.KindKey || e.Kind == revoke.KindToken && !asked.Until.IsZero()
	if open = open && !given; open {
		asked.At = e.At
	} else {
		asked = e
	}
	payload, err := wire.EncodeUsable(&asked)
	if err != nil {
		return e, nil, err
	}
	rec := &record{
		subject: wire.Subject(e.Issuer, e.Kind),
		payload: payload,
		gone:    e.Until.Add(revoke.StreamMargin),
		limit:   limit,
		open:    open,
		early:   open,
	}
	switch {
	case !e.Kind.Mass():
	case p.signer != nil:
		if rec.signature, err = p.signer.Sign(ctx, rec.subject, payload); err != nil {
			return e, nil, err
		}
	case p.trust != nil:
		return e, nil, fmt.Errorf("%w: kind %s has to be signed, and this Member has a Trust and no Signer", revoke.ErrInvalidEvent, e.Kind)
	}
	return e, rec, nil
}

// ready returns the stream's state once it is known, and an error if nothing may
// be published to it.
func (p *Publisher) ready(ctx context.Context) (stream.State, error) {
	for attempt := 0; ; attempt++ {
		st, err := p.facts(ctx, fillInterval)
		if err == nil && len(st.Unsafe) > 0 {
			st, err = p.facts(ctx, refusalInterval) // mended meanwhile?
		}
		switch {
		case err == nil && len(st.Unsafe) > 0:
			return st, p.isUnsafe(st.Unsafe)
		case err == nil, errors.Is(err, transport.ErrNoStream):
			return st, err
		}
		if err := p.pause(ctx, attempt, err); err != nil {
			return st, fmt.Errorf("not sent: %w", err)
		}
	}
}
