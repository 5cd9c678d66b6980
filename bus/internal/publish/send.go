package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/pause"
)

// deliver sends rec until it is acknowledged for good, and returns its sequence.
func (p *Publisher) deliver(ctx context.Context, rec *record) (uint64, error) {
	return p.deliverFrom(ctx, rec, sending{})
}

// deliverFrom is deliver for a record that has come as far as that.
func (p *Publisher) deliverFrom(ctx context.Context, rec *record, at sending) (uint64, error) {
	for attempt := 0; ; attempt++ {
		if at.id == "" {
			at.floor, at.era = p.ledger.begin()
		}
		ack, retried, err := p.send(ctx, rec, at.id, at.perhaps)
		if err != nil {
			return 0, err
		}
		floor, era := at.floor, at.era
		at = sending{} // what was stored under this id cannot be relied on, unless it is acknowledged now
		if err := p.vouch(ctx, time.Now()); err != nil {
			return 0, err
		}
		if p.contradicted(ctx, ack, retried, floor, era) {
			if err := p.pause(ctx, attempt, errForged); err != nil {
				return 0, err
			}
			continue
		}
		if p.acknowledged(rec, ack, retried, floor, era) {
			p.settle(rec, ack.Sequence, era)
			return ack.Sequence, nil
		}
		// The stream is not the one it was: again, under a new id.
		if err := p.pause(ctx, attempt, errLost); err != nil {
			return 0, err
		}
	}
}

var (
	errLost   = errors.New("the stream has lost acknowledged messages")
	errForged = errors.New("an acknowledgement that the stream contradicts")
)

// send brings rec into the stream under one message id, a new one if id is empty, trying
// again while that can help. retried says whether an earlier try may have stored it, as is
// given of those before.
func (p *Publisher) send(ctx context.Context, rec *record, id string, perhaps bool) (ack *jetstream.PubAck, retried bool, err error) {
	retried = perhaps
	for attempt := 0; ; attempt++ {
		st, err := p.ready(ctx)
		if err == nil && id == "" {
			err = p.completeEarly(ctx, rec, st.Largest, time.Now()) // before it is first sent: one id, one content
			id = messageID(rec)
		}
		if err != nil {
			return nil, retried, unsure(retried, err)
		}
		release, err := p.alone(ctx, rec)
		if err != nil {
			return nil, retried, unsure(retried, err)
		}
		ack, sent, err := p.try(ctx, rec, id)
		release()
		if err == nil {
			return ack, retried, nil
		}
		retried = retried || sent
		if final(err) {
			return nil, retried, unsure(retried, err)
		}
		if err := p.pause(ctx, attempt, err); err != nil {
			return nil, retried, err
		}
	}
}

// try sends rec once. sent says whether it may be stored, also if err is not nil.
func (p *Publisher) try(ctx context.Context, rec *record, id string) (ack *jetstream.PubAck, sent bool, err error) {
	if p.t.Conn.Over() {
		return nil, false, fmt.Errorf("connection %w", transport.ErrClosed)
	}
	if !p.t.Conn.IsConnected() { // a connection that buffers would send it some day
		return nil, false, p.t.Conn.Disconnected()
	}
	l := p.t.Conn.Link.Load()
	if err := p.reserve(ctx, rec.size(), rec.limit); err != nil {
		return nil, false, err
	}
	defer func() { p.release(rec.size(), sent) }()
	type seen struct {
		before error
		epoch  uint64
		over   bool
	}
	at, err := transport.Within(ctx, func() seen { return seen{l.Conn.LastError(), p.t.Conn.Epoch(), l.Conn.IsClosed()} })
	if err != nil {
		return nil, false, err
	}
	if at.over && p.t.Conn.Dialled() { // which what is sent over it next has not caused
		return nil, false, p.t.Conn.Disconnected()
	}
	p.ledger.reconnected(at.epoch, p.now())
	p.foresee()
	msg := &nats.Msg{Subject: rec.subject, Data: rec.payload}
	if rec.signature != "" {
		msg.Header = nats.Header{wire.SignatureHeader: {rec.signature}}
	}
	life := ttl(rec.gone.Sub(p.now()))
	ack, err = transport.Attempt(ctx, l, transport.AttemptTimeout, func(ctx context.Context) (*jetstream.PubAck, error) {
		return l.JetStream.PublishMsg(ctx, msg,
			jetstream.WithMsgID(id),
			jetstream.WithExpectStream(p.t.StreamName),
			jetstream.WithMsgTTL(life),
			jetstream.WithRetryAttempts(0))
	})
	switch {
	case err == nil && ack.Stream != p.t.StreamName:
		return nil, true, fmt.Errorf("acknowledged by stream %q", ack.Stream)
	case err == nil:
		p.accepted()
		return ack, true, nil
	case jsadmin.IsCode(err, jsadmin.CodeStoreFailed) && strings.Contains(err.Error(), "maximum"):
		p.refusedForRoom(ctx, streamFull)
		return nil, false, fmt.Errorf("%w: %w", ErrFull, err)
	case jsadmin.IsFull(err):
		p.refusedForRoom(ctx, accountFull)
		return nil, false, fmt.Errorf("%w: %w", ErrFull, err)
	case jsadmin.IsCode(err, jsadmin.CodeStreamNotMatch):
		return nil, false, fmt.Errorf("%w: %s does not hold subject %s: %w", ErrStreamUnsafe, p.t.StreamName, rec.subject, err)
	case jsadmin.IsCode(err, jsadmin.CodeTTLInvalid, jsadmin.CodeTTLDisabled, jsadmin.CodeSealed):
		return nil, false, fmt.Errorf("%w: %w", ErrStreamUnsafe, err)
	case jsadmin.IsCode(err, jetstream.JSErrCodeStreamMessageExceedsMaximum), errors.Is(err, nats.ErrMaxPayload):
		return nil, false, fmt.Errorf("%w: %w", errTooLarge, err)
	case errors.Is(err, transport.ErrEnded) && p.t.Conn.Dialled():
		return nil, true, p.ended(rec, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return nil, false, fmt.Errorf("connection %w: %w", transport.ErrClosed, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		// Nobody holds the subject: no stream, or no leader at the moment.
		p.expire()
		return nil, false, err
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrHeadersNotSupported), transport.IsAPI(err):
		return nil, false, err
	}
	// A timeout, or something unknown: it may be stored.
	if errors.Is(err, transport.ErrDisconnected) {
		return nil, true, err
	}
	if refusal := p.t.Refused(at.before, rec.subject); refusal != nil {
		return nil, true, fmt.Errorf("%w: %w", transport.ErrNotPermitted, refusal)
	}
	return nil, true, err
}

var (
	errTooLarge = errors.New("event larger than the server takes")
)

// final reports whether trying again cannot help.
func final(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrStreamUnsafe) || errors.Is(err, transport.ErrClosed) ||
		errors.Is(err, errTooLarge) || errors.Is(err, transport.ErrNotPermitted) || errors.Is(err, errSetAside)
}

// unsure adds to an error that an earlier try may have stored the event.
func unsure(sent bool, err error) error {
	if sent && !errors.Is(err, ErrNotAcknowledged) {
		return fmt.Errorf("%w: %w", ErrNotAcknowledged, err)
	}
	return err
}

// pause waits before the next attempt. If ctx ends first, it returns an error that
// tells why, and what the last attempt met.
func (p *Publisher) pause(ctx context.Context, attempt int, last error) error {
	d := pause.Growing(firstBackoff, maxBackoff, attempt)
	cause := p.wait(ctx, pause.Between(d/2, d+d/2))
	switch {
	case cause == nil:
		return nil
	case !errors.Is(last, cause):
		return fmt.Errorf("%w: %w: %w", ErrNotAcknowledged, cause, last)
	}
	return fmt.Errorf("%w: %w", ErrNotAcknowledged, last)
}

// wait waits for d, or until there is a connection where there was none.
func (p *Publisher) wait(ctx context.Context, d time.Duration) error {
	if p.t.Conn.IsConnected() {
		return pause.Wait(ctx, d)
	}
	bounded, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = p.t.Conn.Await(bounded) // its error is that d is over, or ctx
	return context.Cause(ctx)
}
