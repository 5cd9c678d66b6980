package publish

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/bridge"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// How full the stream may be, in percent of its MaxBytes, for what is published.
// Mass kinds come first in need, batches last; heartbeats have the rest.
const (
	limitSingle = 90
	limitMass   = 97
	limitBatch  = 80
)

func (p *Publisher) Publish(ctx context.Context, e revoke.Event) (revoke.Receipt, error) {
	r, _, err := p.publish(ctx, e)
	return r, err
}

// PublishPlaced is Publish, and tells besides where the event stands in the stream.
func (p *Publisher) PublishPlaced(ctx context.Context, e revoke.Event) (revoke.Receipt, func() bridge.Place, error) {
	r, rec, err := p.publish(ctx, e)
	if err != nil {
		return revoke.Receipt{}, nil, err
	}
	return r, func() bridge.Place {
		seq, payload, lost := p.ledger.place(rec)
		return bridge.Place{Sequence: seq, Digest: wire.RecordDigest(rec.subject, payload), Lost: lost}
	}, nil
}

func (p *Publisher) publish(ctx context.Context, e revoke.Event) (revoke.Receipt, *record, error) {
	ctx, done, err := p.t.Call(ctx, transport.DefaultTimeout)
	if err != nil {
		return revoke.Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	defer done()
	limit := limitSingle
	if e.Kind.Mass() {
		limit = limitMass
	}
	valid, err := p.own(e)
	if err != nil {
		return revoke.Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	e, rec, err := p.prepare(ctx, valid, limit)
	if err != nil {
		return revoke.Receipt{}, nil, fmt.Errorf("bus: publish: %w", err)
	}
	kept := p.keep(rec)
	seq, err := p.deliver(ctx, rec)
	if err != nil {
		err = p.undelivered(rec, kept, err)
		return revoke.Receipt{}, nil, fmt.Errorf("bus: publish %s %s: %w", e.Kind, e.ID, err)
	}
	return revoke.Receipt{ID: e.ID, Sequence: seq, Time: time.Now(), Event: p.published(rec, e)}, rec, nil
}

// own fills in the issuer, or refuses one that is not configured. It judges e, once:
// before anything is waited for.
func (p *Publisher) own(e revoke.Event) (replica.Valid, error) {
	if e.Issuer != "" {
		if err := replica.CheckIdentifier("issuer", e.Issuer); err != nil {
			return replica.Valid{}, err // and not with what it is, as below
		}
	}
	switch issuers := p.issuers; {
	case len(issuers) == 0:
		return replica.Valid{}, errors.New("this Member only follows: its Config.Issuers is empty")
	case e.Issuer == "" && len(issuers) == 1:
		e.Issuer = issuers[0]
	case e.Issuer == "":
		return replica.Valid{}, fmt.Errorf("%w: it names no issuer, and this Member publishes for %d", revoke.ErrInvalidEvent, len(issuers))
	case !slices.Contains(issuers, e.Issuer):
		return replica.Valid{}, fmt.Errorf("%w: issuer %q is, to the letter, none of %q, which this Member publishes for", revoke.ErrInvalidEvent, e.Issuer, issuers)
	}
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.At.IsZero() {
		e.At = time.Now() // Until counts from here, however long it takes to reach the stream
	}
	return replica.Validate(e)
}
